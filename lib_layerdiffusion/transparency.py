"""RGBA to latent and back: the offset that hides transparency in a latent, and its decode by vote."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lib_layerdiffusion.images import FloatImage, Uint8Image, pad_colour
from lib_layerdiffusion.models.transparency import (
    DECODER_MULTIPLE,
    TransparencyDecoder,
    TransparencyEncoder,
)

LATENT_SCALE = 8
"""Pixels per latent position and side."""

def _as_input(network: torch.nn.Module, x: Tensor) -> Tensor:
    parameter = next(network.parameters())
    return x.to(device=parameter.device, dtype=parameter.dtype)


def encode_offset(encoder: TransparencyEncoder, rgba: Uint8Image) -> Tensor:
    """Return the latent offset of RGBA uint8 [H, W, 4] as float32 [1, 4, ceil(H/8), ceil(W/8)].

    Runs on the encoder's device and in its dtype.
    """
    alpha = rgba[..., 3:].astype(np.float32) / np.float32(255)
    channels = np.concatenate([alpha, pad_colour(rgba)], axis=2)
    x = torch.from_numpy(channels).permute(2, 0, 1)[None]
    return encoder(_as_input(encoder, x)).float()


def add_offset(mean: Tensor, logvar: Tensor, offset: Tensor) -> Tensor:
    """Put the offset in the place of the posterior's noise: mean + std * offset.

    All [B, 4, h, w] (the offset may have batch 1); log variances are clamped to [-30, 20]. An offset of a
    picture whose sides are no multiples of 8 is larger by one and is cut to the latent's size.
    """
    offset = offset[..., : mean.shape[-2], : mean.shape[-1]].to(mean)
    return mean + torch.exp(0.5 * logvar.clamp(-30, 20)) * offset


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

Decode = Callable[[Tensor, Tensor], Tensor]
"""pixel [B, 3, H, W], latent [B, 4, H/8, W/8] -> [B, 4, H, W], as TransparencyDecoder."""


@dataclass(frozen=True)
class Votes:
    """How the vote is computed; the result is the same for every `at_once` and `store`.

    `passes` orientations are decoded, up to `at_once` of the same shape in one batch, their results kept on
    the device `store` (None: where they are computed). `each` is called with how many passes are done.
    """

    passes: int = 8
    at_once: int = 1
    store: torch.device | str | None = None
    each: Callable[[int], None] = lambda done: None


PLAIN = Votes()


def vote(decode: Decode, pixel: Tensor, latent: Tensor, votes: Votes = PLAIN) -> Tensor:
    """Decode in several orientations and combine, per value, the results clipped to [0, 1].

    pixel [1, 3, H, W] in [0, 1], latent [1, 4, H/8, W/8] in VAE space, H and W multiples of 64, both on the
    device and in the dtype of the decoder. Returns float32 [4, H, W] (alpha, R, G, B) in [0, 1]. Eight
    are combined as released: by their lower median, the fourth smallest. Fewer are combined by the mean of
    the two in the middle, since the lower of so few would take from the alpha.
    """
    waiting = list(PASSES[votes.passes])
    middle = MiddleOf(votes.passes)
    done = 0
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
            middle.add(turned.to(votes.store or turned.device).contiguous())
        del decoded, result, turned
        done += len(batch)
        votes.each(done)
    return middle.value()


class MiddleOf:
    """The middle of `count` tensors of one shape, value by value, of which it holds only the lower half.

    Eight are combined by their lower median, fewer by the mean of the two in the middle; see `vote`.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._kept = count // 2 if count == len(ORIENTATIONS) else count // 2 + 1
        self._lowest: list[Tensor] = []

    def add(self, values: Tensor) -> None:
        """Take one more; its memory is ours from here on."""
        spare: Tensor | None = None
        for n, lower in enumerate(self._lowest):
            lesser = torch.minimum(lower, values, out=spare)
            values = torch.maximum(lower, values, out=values)
            self._lowest[n], spare = lesser, lower
        if len(self._lowest) < self._kept:
            self._lowest.append(values)

    def value(self) -> Tensor:
        """Return the middle in float32, when `count` tensors have been added."""
        lower, upper = self._lowest[(self.count - 1) // 2], self._lowest[-1]
        return lower.float() if lower is upper else (lower.float() + upper.float()) / 2


def _pad(x: Tensor, height: int, width: int) -> Tensor:
    missing = (0, width - x.shape[-1], 0, height - x.shape[-2])
    return F.pad(x, missing, mode="replicate") if any(missing) else x


def decode_rgba(
    decoder: TransparencyDecoder,
    latent: Tensor,
    picture: Uint8Image,
    votes: Votes = PLAIN,
    decode: Decode | None = None,
) -> FloatImage:
    """Return straight-alpha RGBA float32 [H, W, 4] in [0, 1] for a generated picture.

    latent [4, h, w] in VAE space, picture RGB uint8 [H, W, 3] of any size. Where H or W is no multiple of 64
    both are extended by their border inside, and the result is cut back. A latent of another size than the
    picture's (one that was pasted into a larger picture, say) cannot be aligned and counts as all zero.
    `decode` computes what `decoder` does, in another way.
    """
    height, width = picture.shape[:2]
    full_height, full_width = (-(-side // DECODER_MULTIPLE) * DECODER_MULTIPLE for side in (height, width))
    if tuple(latent.shape[-2:]) != (height // LATENT_SCALE, width // LATENT_SCALE):
        latent = latent.new_zeros(4, full_height // LATENT_SCALE, full_width // LATENT_SCALE)
    pixel = torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)[None].float() / 255
    pixel = _pad(pixel, full_height, full_width)
    latent = _pad(latent[None].float(), full_height // LATENT_SCALE, full_width // LATENT_SCALE)
    pixel, latent = _as_input(decoder, pixel), _as_input(decoder, latent)
    alpha_rgb = vote(decode or decoder, pixel, latent, votes)[:, :height, :width]
    return alpha_rgb[[1, 2, 3, 0]].permute(1, 2, 0).cpu().numpy()
