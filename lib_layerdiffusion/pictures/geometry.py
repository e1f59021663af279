"""Cutting a finished picture to what is visible, and putting it on a canvas. Pixels move and never change."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import cv2
import numpy as np

from lib_layerdiffusion.errors import BadPicture
from lib_layerdiffusion.pictures.arithmetic import Uint8Image

LARGEST_SIDE = 16384
"""Pixels that a side may have after something was put around a picture."""

ANCHORS: dict[str, tuple[float, float]] = {
    "center": (0.5, 0.5),
    "top": (0.5, 0.0),
    "bottom": (0.5, 1.0),
    "left": (0.0, 0.5),
    "right": (1.0, 0.5),
    "top left": (0.0, 0.0),
    "top right": (1.0, 0.0),
    "bottom left": (0.0, 1.0),
    "bottom right": (1.0, 1.0),
}
"""Where on a canvas a picture is put: what part of the room is left of it, and above it."""


class Box(NamedTuple):
    """Rows from `top` to before `bottom`, columns from `left` to before `right`."""

    top: int
    bottom: int
    left: int
    right: int


class Canvas(NamedTuple):
    """A size in pixels, or with `multiple` that of which the sides become whole multiples."""

    width: int
    height: int
    multiple: bool = False


def visible_box(rgba: Uint8Image, threshold: int = 0) -> Box | None:
    """Return the smallest box around alpha above a threshold, 0 to 254; None where there is none."""
    seen = rgba[..., 3] > threshold
    left, top, width, height = cv2.boundingRect(seen.view(np.uint8))
    return Box(top, top + height, left, left + width) if width and height else None


def common_box(boxes: Iterable[Box | None]) -> Box | None:
    """Return the smallest box around all of them, so that pictures cut to it stay in place; None for none."""
    found = [box for box in boxes if box is not None]
    if not found:
        return None
    tops, bottoms, lefts, rights = zip(*found, strict=True)
    return Box(min(tops), max(bottoms), min(lefts), max(rights))


def trim(rgba: Uint8Image, margin: int, box: Box | None = None) -> Uint8Image:
    """Cut to what is visible, or to `box`, with a margin in pixels around, 0 and up.

    What of the margin lies beyond the picture is added, invisible. Where nothing is visible all stays.
    """
    box = box or visible_box(rgba)
    if box is None:
        return rgba
    around = Box(box.top - margin, box.bottom + margin, box.left - margin, box.right + margin)
    return placed(rgba, around)


def put_on_canvas(rgba: Uint8Image, canvas: Canvas, anchor: str = "center") -> Uint8Image:
    """Put a picture on an invisible canvas, at one of ANCHORS.

    Raises BadPicture where the canvas has a size, and the picture is larger.
    """
    height, width = rgba.shape[:2]
    if canvas.multiple:
        canvas = Canvas(width + -width % canvas.width, height + -height % canvas.height)
    if width > canvas.width or height > canvas.height:
        raise BadPicture(
            f"The picture has {width}x{height} pixels and does not fit on a canvas of "
            f"{canvas.width}x{canvas.height}; trim it, or give a larger canvas."
        )
    to_left, to_top = ANCHORS[anchor]
    left, top = int((canvas.width - width) * to_left), int((canvas.height - height) * to_top)
    return placed(rgba, Box(-top, canvas.height - top, -left, canvas.width - left))


def placed(rgba: Uint8Image, box: Box) -> Uint8Image:
    """Return what is inside a box, which may reach beyond the picture: invisible black there.

    Raises BadPicture where a side would become longer than LARGEST_SIDE, and than it was.
    """
    height, width = rgba.shape[:2]
    if box == (0, height, 0, width):
        return rgba
    sides = box.bottom - box.top, box.right - box.left
    if max(sides) > max(LARGEST_SIDE, height, width):
        raise BadPicture(
            f"The picture would become {sides[1]}x{sides[0]} pixels; a side may have {LARGEST_SIDE} at most."
        )
    result = np.zeros((*sides, 4), np.uint8)
    top, left = max(0, box.top), max(0, box.left)
    part = rgba[top : min(height, box.bottom), left : min(width, box.right)]
    row, column = top - box.top, left - box.left
    result[row : row + part.shape[0], column : column + part.shape[1]] = part
    return result
