"""What is laid under a finished picture: an outline, as of a sticker, and a shadow."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from lib_layerdiffusion.pictures.arithmetic import Uint8Image
from lib_layerdiffusion.pictures.geometry import Box, placed, visible_box

INSIDE = 128
"""Alpha from which on a pixel counts as inside the outline."""


class Outline(NamedTuple):
    """`width` in pixels, 1 to 100; `colour` RGBA, 0 to 255."""

    width: int
    colour: tuple[int, int, int, int]


class Shadow(NamedTuple):
    """`right` and `down` in pixels, -500 to 500; `blur` about how many pixels it fades over, 0 to 500."""

    right: int
    down: int
    blur: int
    colour: tuple[int, int, int, int]


def with_outline(rgba: Uint8Image, outline: Outline, grow: bool = True) -> Uint8Image:
    """Lay a stroke around everything with an alpha of 128 and above under the picture.

    `grow`: room that it needs is added to the picture on all sides alike; else it is cut off. Where the
    picture is opaque it stays as it is.
    """
    room = outline.width + 1
    rgba = _with_room(rgba, room, room, room, room) if grow else rgba
    outside = (rgba[..., 3] < INSIDE).view(np.uint8)
    if outside.all():
        return rgba
    distance = cv2.distanceTransform(outside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    # half a pixel of the stroke lies under the soft edge of the picture
    cover = np.clip(outline.width + 0.5 - distance, 0, 1)
    return under(rgba, _layer(cover, outline.colour))


def with_shadow(rgba: Uint8Image, shadow: Shadow, grow: bool = True) -> Uint8Image:
    """Lay a shadow under the picture. `grow` as for `with_outline`, on the sides where it falls."""
    rgba = _room_for(rgba, shadow) if grow else rgba
    return under(rgba, shadow_layer(rgba, shadow))


def shadow_apart(rgba: Uint8Image, shadow: Shadow, grow: bool = True) -> tuple[Uint8Image, Uint8Image]:
    """Return the picture with room for its shadow, and the shadow as a layer of the same size."""
    rgba = _room_for(rgba, shadow) if grow else rgba
    return rgba, shadow_layer(rgba, shadow)


def shadow_layer(rgba: Uint8Image, shadow: Shadow) -> Uint8Image:
    """Return the shadow alone, of the picture's size: a layer to lie below it."""
    height, width = rgba.shape[:2]
    alpha = cv2.extractChannel(rgba, 3)
    move = np.array([[1, 0, shadow.right], [0, 1, shadow.down]], np.float32)
    cast = cv2.warpAffine(alpha, move, (width, height), flags=cv2.INTER_NEAREST)
    if shadow.blur:
        cast = cv2.GaussianBlur(cast, (0, 0), shadow.blur / 2, borderType=cv2.BORDER_CONSTANT)
    return _layer(np.asarray(cast, np.float32) / np.float32(255), shadow.colour)


def under(rgba: Uint8Image, below: Uint8Image) -> Uint8Image:
    """Return straight-alpha `rgba` over `below`, both [H, W, 4]; where `below` is invisible all stays."""
    result = rgba.copy()
    changed = (below[..., 3] > 0) & (rgba[..., 3] < 255)
    top, bottom = rgba[changed].astype(np.float32), below[changed].astype(np.float32)
    top_alpha = top[:, 3:] / 255
    rest = bottom[:, 3:] / 255 * (1 - top_alpha)
    alpha = top_alpha + rest
    colour = (top[:, :3] * top_alpha + bottom[:, :3] * rest) / np.maximum(alpha, 1e-6)
    result[changed] = np.rint(np.concatenate([colour, alpha * 255], axis=1)).clip(0, 255).astype(np.uint8)
    return result


def _layer(cover: np.ndarray, colour: tuple[int, int, int, int]) -> Uint8Image:
    layer = np.empty((*cover.shape, 4), np.uint8)
    layer[..., :3] = colour[:3]
    layer[..., 3] = np.rint(cover * colour[3])
    return layer


def _room_for(rgba: Uint8Image, shadow: Shadow) -> Uint8Image:
    fade = round(1.5 * shadow.blur)
    return _with_room(rgba, fade - shadow.down, fade + shadow.down, fade - shadow.right, fade + shadow.right)


def _with_room(rgba: Uint8Image, top: int, bottom: int, left: int, right: int) -> Uint8Image:
    """Have at least so many invisible pixels on each side of what is visible."""
    box = visible_box(rgba)
    if box is None:
        return rgba
    height, width = rgba.shape[:2]
    return placed(
        rgba,
        Box(
            min(0, box.top - top),
            max(height, box.bottom + bottom),
            min(0, box.left - left),
            max(width, box.right + right),
        ),
    )
