"""Picture arithmetic: grey composite, three resize modes, colour padding, checkerboard, quantisation.

Arrays are height x width x channels; `_01` means float32 in [0, 1].
"""

from __future__ import annotations

from enum import Enum

import cv2
import numpy as np
from numpy.typing import NDArray

Uint8Image = NDArray[np.uint8]
FloatImage = NDArray[np.float32]

ROUNDING, PAINTED_OVER = 1, 16
"""Levels by which a colour differs that nobody changed, and by which one that somebody did."""


class ResizeMode(Enum):
    """How a condition picture is brought to the size of the generation; values are UI texts."""

    STRETCH = "Just Resize"
    CROP = "Crop and Resize"
    FILL = "Resize and Fill"


def flatten_on_grey(rgba: Uint8Image) -> FloatImage:
    """Composite RGBA [H, W, 4] on 50% grey and return RGB [H, W, 3] in [0, 1]. No gamma."""
    rgb = rgba[..., :3].astype(np.float32) / np.float32(255)
    alpha = rgba[..., 3:].astype(np.float32) / np.float32(255)
    return np.float32(0.5) + (rgb - np.float32(0.5)) * alpha


def resize(image: FloatImage, height: int, width: int) -> FloatImage:
    """Resize [H, W, C]: INTER_AREA if the area shrinks, else Lanczos, which overshoots the input's range."""
    height, width = max(1, height), max(1, width)
    if image.shape[:2] == (height, width):
        return image
    shrinks = width * height < image.shape[1] * image.shape[0]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LANCZOS4
    return cv2.resize(image, (width, height), interpolation=method).astype(np.float32, copy=False)


def fit(image: FloatImage, mode: ResizeMode, height: int, width: int) -> FloatImage:
    """Bring [H, W, 3] to [height, width, 3].

    STRETCH ignores the side ratio, CROP covers the target and cuts the middle out, FILL fits the
    picture in and surrounds it with the per-channel median of its border. Scaled sides are rounded
    half to even and never below 1. The result may leave [0, 1] a little where Lanczos overshoots.
    """
    if mode is ResizeMode.STRETCH:
        return resize(image, height, width)
    ratios = height / image.shape[0], width / image.shape[1]
    scale = max(ratios) if mode is ResizeMode.CROP else min(ratios)
    scaled = resize(image, round(image.shape[0] * scale), round(image.shape[1] * scale))
    if mode is ResizeMode.CROP:
        top = max(0, (scaled.shape[0] - height) // 2)
        left = max(0, (scaled.shape[1] - width) // 2)
        return np.ascontiguousarray(scaled[top : top + height, left : left + width])
    border = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
    canvas = np.empty((height, width, image.shape[2]), np.float32)
    canvas[:] = np.median(border, axis=0)
    top = max(0, (height - scaled.shape[0]) // 2)
    left = max(0, (width - scaled.shape[1]) // 2)
    canvas[top : top + scaled.shape[0], left : left + scaled.shape[1]] = scaled
    return canvas


def condition_rgb(rgba: Uint8Image, mode: ResizeMode, height: int, width: int) -> FloatImage:
    """What a condition picture looks like to the VAE: on grey, resized, RGB [height, width, 3] in [0, 1]."""
    return fit(flatten_on_grey(rgba), mode, height, width).clip(0, 1)


def pad_colour(rgba: Uint8Image) -> FloatImage:
    """Fill invisible pixels with smooth colours: RGBA [H, W, 4] -> RGB float32 [H, W, 3].

    A pyramid of premultiplied colour and alpha, each level 1/1.2 of the one before, is collapsed
    from its smallest level upwards: where a level is transparent, the coarser one shows through.
    All transparent gives black; all opaque gives the picture's own colours.
    """
    alpha = rgba[..., 3:].astype(np.float32) / np.float32(255)
    colour = rgba[..., :3].astype(np.float32) / np.float32(255) * alpha
    levels = [(colour, alpha)]
    while min(colour.shape[:2]) != 1:
        size = int(colour.shape[1] / 1.2), int(colour.shape[0] / 1.2)
        colour = np.asarray(cv2.resize(colour, size, interpolation=cv2.INTER_AREA), np.float32)
        # cv2 drops a trailing channel axis of length 1
        alpha = np.asarray(cv2.resize(alpha, size, interpolation=cv2.INTER_AREA), np.float32)[..., None]
        levels.append((colour, alpha))
    colour, alpha = levels[-1]
    total = np.maximum(alpha.sum((0, 1), keepdims=True), np.float32(1e-8))
    filled: FloatImage = colour.sum((0, 1), keepdims=True) / total
    for colour, alpha in reversed(levels):
        size = colour.shape[1], colour.shape[0]
        below = cv2.resize(filled, size, interpolation=cv2.INTER_LINEAR).reshape(colour.shape)
        filled = np.asarray(colour + below * (1 - alpha), np.float32)
    return filled


def checkerboard(height: int, width: int, cell: int = 64) -> FloatImage:
    """Return [height, width, 1] of `cell`-pixel squares, 0.45 (top left) and 0.55."""
    rows, columns = np.arange(height) // cell, np.arange(width) // cell
    odd = (rows[:, None] + columns[None, :]) % 2
    return np.where(odd, np.float32(0.55), np.float32(0.45))[..., None]


def to_uint8(image: FloatImage) -> Uint8Image:
    """[0, 1] -> 0..255, clipped and truncated, as the released models' pictures are made."""
    return (image.astype(np.float32) * np.float32(255)).clip(0, 255).astype(np.uint8)


def preview(rgba_01: FloatImage) -> Uint8Image:
    """Show straight-alpha RGBA [H, W, 4] over the checkerboard: RGB uint8 [H, W, 3]."""
    colour, alpha = rgba_01[..., :3], rgba_01[..., 3:]
    board = checkerboard(rgba_01.shape[0], rgba_01.shape[1])
    return to_uint8(np.asarray(colour * alpha + board * (1 - alpha), np.float32))


def carry_edit(rgba: Uint8Image, before: Uint8Image, after: Uint8Image) -> Uint8Image:
    """Return RGBA with the alpha of `rgba` and what was changed from `before` to `after`, RGB [H, W, 3].

    `rgba` [H, W, 4] was decoded from `before`, whose colours differ a little from the decoded ones. That
    difference is kept where nothing changed, fades where little did, and is gone where the picture was
    painted over. A change of one level is rounding. If `after` is of another size, alpha is resized to it.
    """
    if before.shape != after.shape:
        size = after.shape[1], after.shape[0]
        grown = after.shape[0] > before.shape[0]
        alpha = cv2.resize(rgba[..., 3], size, interpolation=cv2.INTER_CUBIC if grown else cv2.INTER_AREA)
        return np.dstack([after, alpha])
    change = np.abs(after.astype(np.int16) - before).max(axis=2, keepdims=True)
    if change.max(initial=0) <= ROUNDING:
        return rgba
    painted = ((change - ROUNDING) / np.float32(PAINTED_OVER - ROUNDING)).clip(0, 1)
    own = (rgba[..., :3].astype(np.float32) - before) * (1 - painted)
    colour = (after + own).round().clip(0, 255).astype(np.uint8)
    return np.dstack([np.where(change <= ROUNDING, rgba[..., :3], colour), rgba[..., 3]])


def blend(new: Uint8Image, old: Uint8Image, mask: Uint8Image) -> Uint8Image:
    """Return RGBA [H, W, 4]: `new` where mask [H, W] is 255, `old` where it is 0, both in proportion between.

    Colours are weighted by their alpha, so an invisible colour never shows.
    """
    share = mask.astype(np.float32)[..., None] / np.float32(255)
    new_alpha, old_alpha = new[..., 3:] * share, old[..., 3:] * (1 - share)
    alpha = new_alpha + old_alpha
    colour = (new[..., :3] * new_alpha + old[..., :3] * old_alpha) / np.maximum(alpha, np.float32(1e-6))
    mixed = np.concatenate([colour, alpha], axis=2).round().clip(0, 255).astype(np.uint8)
    return np.where(share == 1, new, np.where(share == 0, old, mixed))
