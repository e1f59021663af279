"""Decoding one picture in several orientations, and combining what each of them saw."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from typing import TypeVar

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from lib_layerdiffusion.models.blocks import Affine, PictureNorm, giving, keeping
from lib_layerdiffusion.models.encoder_and_decoder import DECODER_MULTIPLE, LATENT_SCALE

Orientation = tuple[bool, int]
"""Mirrored first, then turned by so many quarters."""

Array = TypeVar("Array", Tensor, NDArray[np.bool_])


def _orient(x: Tensor, flip: bool, turns: int) -> Tensor:
    return torch.rot90(x.flip(-1) if flip else x, turns, (-2, -1))


def _orient_back(x: Tensor, flip: bool, turns: int) -> Tensor:
    x = torch.rot90(x, -turns, (-2, -1))
    return x.flip(-1) if flip else x


ORIENTATIONS = tuple((flip, turns) for flip in (False, True) for turns in range(4))
"""All eight, in the order of the released extension: as it is or mirrored, and quarter turns."""

PASSES = {
    8: ORIENTATIONS,
    4: ORIENTATIONS[:2] + ORIENTATIONS[6:],
    2: (ORIENTATIONS[0], ORIENTATIONS[6]),
    1: ORIENTATIONS[:1],
}
"""Orientations by how many are decoded; fewer than eight are spread over turns and mirrorings."""

BELOW = {2: 0.5642, 3: 0.8463, 4: 1.0294, 5: 1.1630, 6: 1.2672, 7: 1.3522, 8: 1.2711}
"""How far the lowest of so many normal values is below the one in the middle, in their deviation: the order
statistics of Harter (1961). Of eight, it is the lower of the two in the middle."""

Decode = Callable[[Tensor, Tensor], Tensor]
"""pixel [B, 3, H, W], latent [B, 4, H/8, W/8] -> [B, 4, H, W], as TransparencyDecoder."""


FIRST = 2
"""Passes over the whole picture before an adaptive decode knows where more are needed."""

DISPUTED, SHARE = 4 / 255, 1 / 16
"""Difference of the first passes, in alpha or in a colour that shows, and the share of a block with it."""

PLAIN_TO_SEE = 32 / 255
"""Difference that counts in a single pixel: a hair is no wider."""

BLOCK = DECODER_MULTIPLE
"""Side of the squares that are disputed or not, in pixels: the decoder takes multiples of it."""

MOST = 0.75
"""Share of the picture from which on its parts cost as much as all of it."""


@dataclass(frozen=True)
class Votes:
    """How the vote is computed; the result is the same for every `at_once` and `store`.

    `passes` orientations are decoded, up to `at_once` of the same shape in one batch, their results kept on
    the device `store` (None: where they are computed). With `adaptive`, only where the first passes
    disagree. `each` is called with how many passes are done; where it answers True, those have to do.
    `apart`, with two passes or more, is told how far the lowest of them is from the result: the mean over
    alpha, 0 to 1, as it would be with eight.
    """

    passes: int = 8
    _: KW_ONLY
    adaptive: bool = False
    at_once: int = 1
    store: torch.device | str | None = None
    each: Callable[[int], bool | None] = lambda done: None
    apart: Callable[[float], None] = lambda mean: None

    @classmethod
    def of(cls, passes: int | str) -> Votes:
        """Return votes of so many passes, or of as many as are needed ("adaptive")."""
        return cls(adaptive=True) if isinstance(passes, str) else cls(passes)


PLAIN = Votes()


def vote(decode: Decode, pixel: Tensor, latent: Tensor, votes: Votes = PLAIN) -> Tensor:
    """Decode in several orientations and combine, per value, the results clipped to [0, 1].

    pixel [1, 3, H, W] in [0, 1], latent [1, 4, H/8, W/8] in VAE space, H and W multiples of 64, both on the
    device and in the dtype of the decoder. Returns float32 [4, H, W] (alpha, R, G, B) in [0, 1]. Eight
    are combined as released: by their lower median, the fourth smallest. Fewer are combined by the mean of
    the two in the middle, since the lower of so few would take from the alpha.
    """
    if votes.adaptive:
        return _vote_adaptively(decode, pixel, latent, votes)
    middle = MiddleOf(votes.passes)
    for result in _results(decode, pixel, latent, votes, PASSES[votes.passes]):
        middle.add(result)
    combined = middle.value()
    if middle.added > 1:
        votes.apart(_apart(combined, middle.lowest, middle.added))
    return combined


def _apart(combined: Tensor, lowest: Tensor, count: int) -> float:
    """How far the lowest of so many results is from what they were combined to, as it would be of eight."""
    difference = combined[0].float().mean() - lowest[0].float().mean()
    return float(difference) * BELOW[len(ORIENTATIONS)] / BELOW[count]


def _results(
    decode: Decode, pixel: Tensor, latent: Tensor, votes: Votes, orientations: Sequence[Orientation]
) -> Iterator[Tensor]:
    """Yield what each orientation gives, clipped and turned back, [4, H, W], in memory of its own."""
    waiting, done = list(orientations), 0
    while waiting:
        first = waiting[0]
        alike = [o for o in waiting if o[1] % 2 == first[1] % 2 or pixel.shape[-2] == pixel.shape[-1]]
        batch = alike[: votes.at_once]
        waiting = [o for o in waiting if o not in batch]
        decoded = decode(
            torch.cat([_orient(pixel, *o) for o in batch]), torch.cat([_orient(latent, *o) for o in batch])
        )
        for orientation, result in zip(batch, decoded.clamp_(0, 1), strict=True):
            turned = _orient_back(result, *orientation)
            # contiguous: a turned view read in its own order is many times slower
            yield turned.to(votes.store or turned.device).contiguous()
        del decoded, result, turned
        done += len(batch)
        if votes.each(done):
            return


def _vote_adaptively(decode: Decode, pixel: Tensor, latent: Tensor, votes: Votes) -> Tensor:
    """Decode the whole picture twice, and only the regions where the two differ in all eight orientations.

    Elsewhere the result is the mean of the two. A region is normalised by the statistics of the whole, of
    the pass that was mirrored as it is: by its own it would come out darker or lighter than the rest.
    """
    norms = [module for module in _modules(decode) if isinstance(module, PictureNorm)]
    whole: list[Tensor] = []
    found_for: dict[bool, dict[PictureNorm, Affine]] = {}
    single = replace(votes, at_once=1, each=lambda done: None)
    for number, orientation in enumerate(PASSES[FIRST], start=1):
        with keeping(norms) as found_for[orientation[0]]:
            whole += _results(decode, pixel, latent, single, [orientation])
        if votes.each(number):
            return (whole[0].float() + whole[-1].float()) / 2
    combined = (whole[0].float() + whole[1].float()) / 2
    votes.apart(_apart(combined, torch.minimum(whole[0][:1], whole[1][:1]), FIRST))
    blocks = disputed(*whole)
    found = regions(blocks)
    if sum(region.area for region in found) >= MOST * blocks.size:
        found = [Region(0, blocks.shape[0], 0, blocks.shape[1])]
        blocks[:] = True
        found_for = {mirrored: {} for mirrored in found_for}
    parts = [(region, MiddleOf(len(ORIENTATIONS))) for region in found]
    for region, middle in parts:
        for result in whole:
            middle.add(region.cut(result, BLOCK).clone())
    whole.clear()
    later = [o for o in ORIENTATIONS if o not in PASSES[FIRST]] if parts else []
    for number, orientation in enumerate(later, start=FIRST + 1):
        for region, middle in parts:
            cut_pixel, cut_latent = region.cut(pixel, BLOCK), region.cut(latent, BLOCK // LATENT_SCALE)
            with giving(found_for[orientation[0]]):
                for result in _results(decode, cut_pixel, cut_latent, single, [orientation]):
                    middle.add(result)
        if votes.each(number):
            break
    for region, middle in parts:
        mask = torch.from_numpy(region.cut(blocks, 1)).to(combined.device)
        mask = mask.repeat_interleave(BLOCK, 0).repeat_interleave(BLOCK, 1)
        place = region.cut(combined, BLOCK)
        place.copy_(torch.where(mask, middle.value(), place))
    return combined


def _modules(decode: Decode) -> Iterable[nn.Module]:
    network = getattr(decode, "decoder", decode)
    return network.modules() if isinstance(network, nn.Module) else ()


def disputed(one: Tensor, other: Tensor) -> NDArray[np.bool_]:
    """Return in which squares of BLOCK pixels two results [4, H, W] (alpha, R, G, B) differ: [H/64, W/64]."""
    difference = (one - other).abs_()
    shown = torch.maximum(one[0], other[0])
    worst = torch.maximum(difference[0], difference[1:].amax(0) * shown)
    share = F.avg_pool2d((worst >= DISPUTED).float()[None], BLOCK)[0]
    most = F.max_pool2d(worst.float()[None], BLOCK)[0]
    return ((share >= SHARE) | (most >= PLAIN_TO_SEE)).cpu().numpy()


@dataclass(frozen=True)
class Region:
    """A rectangle of blocks, the ends not included."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def area(self) -> int:
        return (self.bottom - self.top) * (self.right - self.left)

    def cut(self, x: Array, side: int) -> Array:
        """Return the view of [..., rows, columns] under it, where a block has `side` rows and columns."""
        rows, columns = slice(self.top * side, self.bottom * side), slice(self.left * side, self.right * side)
        return x[..., rows, columns]

    def touches(self, other: Region) -> bool:
        apart = self.bottom <= other.top or other.bottom <= self.top
        return not (apart or self.right <= other.left or other.right <= self.left)

    def joined(self, other: Region) -> Region:
        return Region(
            min(self.top, other.top),
            max(self.bottom, other.bottom),
            min(self.left, other.left),
            max(self.right, other.right),
        )


def regions(blocks: NDArray[np.bool_]) -> list[Region]:
    """Return rectangles without overlap around the blocks that are True, each with one block around it.

    The decoder judges a place by what surrounds it.
    """
    height, width = blocks.shape
    _, _, boxes, _ = cv2.connectedComponentsWithStats(blocks.astype(np.uint8), connectivity=8)
    found: list[Region] = []
    for left, top, wide, high, _ in boxes[1:].tolist():
        new = Region(
            max(0, top - 1), min(height, top + high + 1), max(0, left - 1), min(width, left + wide + 1)
        )
        while overlapping := [one for one in found if one.touches(new)]:
            for one in overlapping:
                found.remove(one)
                new = new.joined(one)
        found.append(new)
    return found


class MiddleOf:
    """The middle of up to `count` tensors of one shape, value by value; it holds only their lower half.

    Eight are combined by their lower median, fewer by the mean of the two in the middle; see `vote`.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._kept = count // 2 if count == len(ORIENTATIONS) else count // 2 + 1
        self._lowest: list[Tensor] = []
        self.added = 0

    def add(self, values: Tensor) -> None:
        """Take one more; its memory is ours from here on."""
        spare: Tensor | None = None
        for n, lower in enumerate(self._lowest):
            lesser = torch.minimum(lower, values, out=spare)
            values = torch.maximum(lower, values, out=values)
            self._lowest[n], spare = lesser, lower
        if len(self._lowest) < self._kept:
            self._lowest.append(values)
        self.added += 1

    @property
    def lowest(self) -> Tensor:
        """The lowest of what has been added."""
        return self._lowest[0]

    def value(self) -> Tensor:
        """Return the middle in float32 of what has been added, one tensor at least."""
        lower = self._lowest[(self.added - 1) // 2]
        upper = lower if self.added == len(ORIENTATIONS) else self._lowest[self.added // 2]
        return lower.float() if lower is upper else (lower.float() + upper.float()) / 2
