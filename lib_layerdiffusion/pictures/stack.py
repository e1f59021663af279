"""A stack of layers: named RGBA pictures with place, opacity and visibility, in groups, bottom first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from lib_layerdiffusion.errors import BadPicture
from lib_layerdiffusion.pictures.arithmetic import FloatImage, Uint8Image, blocks

LARGEST_SIDE = 30_000
"""Pixels that a side of a stack may have: the limit of PSD."""


@dataclass(frozen=True, eq=False)
class Layer:
    """One picture: straight RGBA uint8 [H, W, 4], its top left corner at (`left`, `top`) of the canvas.

    It may reach over the canvas' edge. `opacity` is from 0 to 1.
    """

    name: str
    picture: Uint8Image
    left: int = 0
    top: int = 0
    opacity: float = 1.0
    visible: bool = True

    @property
    def height(self) -> int:
        return self.picture.shape[0]

    @property
    def width(self) -> int:
        return self.picture.shape[1]

    def cropped(self) -> Layer:
        """Return the layer cut to the box of what shows (alpha > 0), at its place; [0, 0, 4] if nothing does.

        Inside the box every byte stays, hidden colours too.
        """
        alpha = self.picture[..., 3]
        rows, columns = np.flatnonzero(alpha.any(1)), np.flatnonzero(alpha.any(0))
        if not rows.size:
            return replace(self, picture=self.picture[:0, :0])
        top, left = int(rows[0]), int(columns[0])
        inside = self.picture[top : int(rows[-1]) + 1, left : int(columns[-1]) + 1]
        return replace(self, picture=inside, left=self.left + left, top=self.top + top)


@dataclass(frozen=True, eq=False)
class Group:
    """Layers and groups that are shown, hidden and faded together; bottom first. `opacity` is from 0 to 1."""

    name: str
    members: Sequence[Layer | Group]
    opacity: float = 1.0
    visible: bool = True


@dataclass(frozen=True, eq=False)
class Stack:
    """A canvas of `width` x `height` pixels and what lies on it, bottom first.

    Raises BadPicture where a side is not from 1 to LARGEST_SIDE.
    """

    width: int
    height: int
    members: Sequence[Layer | Group]

    def __post_init__(self) -> None:
        for side in (self.width, self.height):
            if not 1 <= side <= LARGEST_SIDE:
                raise BadPicture(
                    f"A layered picture of {self.width}x{self.height} pixels cannot be made; its sides must "
                    f"be from 1 to {LARGEST_SIDE}."
                )

    def layers(self) -> Iterator[Layer]:
        """Every layer, bottom first, out of its groups."""
        return _layers(self.members)

    def cropped(self) -> Stack:
        """Return the stack with each layer cut to what shows of it."""
        return replace(self, members=[_cropped(member) for member in self.members])

    def composite(self) -> Uint8Image:
        """Return all visible layers over each other: straight RGBA uint8 [height, width, 4].

        Source-over of straight alpha on sRGB values, as editors do (Porter and Duff 1984), in float32 and
        rounded once. Where nothing shows, all four values are 0.
        """
        result = np.empty((self.height, self.width, 4), np.uint8)
        for rows in blocks(result):
            strip = np.zeros(result[rows].shape, np.float32)
            _draw(strip, rows.start, self.members, 1.0)
            alpha = cv2.extractChannel(strip, 3)
            # less than half a level of alpha is none
            alpha[alpha < 0.5 / 255] = 0
            share = np.divide(255, alpha, out=np.zeros_like(alpha), where=alpha > 0)
            colour = cv2.multiply(
                cv2.cvtColor(strip, cv2.COLOR_BGRA2BGR), cv2.cvtColor(share, cv2.COLOR_GRAY2BGR)
            )
            levels = cv2.merge([*cv2.split(colour), alpha * 255])
            result[rows] = np.rint(levels, out=levels).clip(0, 255)
        return result


def _layers(members: Sequence[Layer | Group]) -> Iterator[Layer]:
    for member in members:
        if isinstance(member, Layer):
            yield member
        else:
            yield from _layers(member.members)


def _cropped(member: Layer | Group) -> Layer | Group:
    if isinstance(member, Layer):
        return member.cropped()
    return replace(member, members=[_cropped(inner) for inner in member.members])


def _draw(strip: FloatImage, top: int, members: Sequence[Layer | Group], opacity: float) -> None:
    """Put `members` over a strip of the canvas from row `top` on: premultiplied, in [0, 1], in place."""
    for member in members:
        if not member.visible:
            continue
        if isinstance(member, Layer):
            _draw_layer(strip, top, member, opacity * member.opacity)
        elif member.opacity == 1 and opacity == 1:
            # source-over is associative: a group that is not faded needs no canvas of its own
            _draw(strip, top, member.members, 1.0)
        else:
            inside = np.zeros_like(strip)
            _draw(inside, top, member.members, 1.0)
            _over(strip, inside * np.float32(opacity * member.opacity))


def _draw_layer(strip: FloatImage, top: int, layer: Layer, opacity: float) -> None:
    first, left = max(0, layer.top - top), max(0, layer.left)
    last = min(strip.shape[0], layer.top - top + layer.height)
    right = min(strip.shape[1], layer.left + layer.width)
    if first >= last or left >= right:
        return
    down, across = top - layer.top, -layer.left
    shown = layer.picture[first + down : last + down, left + across : right + across]
    part: FloatImage = np.divide(shown, np.float32(255), dtype=np.float32)
    alpha = cv2.extractChannel(part, 3)
    colour = cv2.multiply(cv2.cvtColor(part, cv2.COLOR_BGRA2BGR), cv2.cvtColor(alpha, cv2.COLOR_GRAY2BGR))
    part = np.asarray(cv2.merge([*cv2.split(colour), alpha]), np.float32)
    if opacity != 1:
        part *= np.float32(opacity)
    _over(strip[first:last, left:right], part)


def _over(below: FloatImage, above: FloatImage) -> None:
    """Source-over of premultiplied pictures, into `below`."""
    clear = cv2.merge([1 - cv2.extractChannel(above, 3)] * 4)
    below *= clear
    below += above
