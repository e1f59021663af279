"""Picture arithmetic: grey composite, three resize modes, colour padding, checkerboard, quantisation.

Arrays are height x width x channels; `_01` means float32 in [0, 1].
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum

import cv2
import numpy as np
from numpy.typing import NDArray

Uint8Image = NDArray[np.uint8]
FloatImage = NDArray[np.float32]

BLOCK = 64 * 2048 * 4
"""Values that are worked on at once: what is computed in between stays in the processor's cache."""


def blocks(image: NDArray[np.generic]) -> Iterator[slice]:
    """Slices of rows that together are an array, [H, W, ...] as a rule."""
    rows = max(1, BLOCK * image.shape[0] // max(1, image.size))
    return (slice(top, top + rows) for top in range(0, image.shape[0], rows))


class ResizeMode(Enum):
    """How a condition picture is brought to the size of the generation; values are UI texts."""

    STRETCH = "Just Resize"
    CROP = "Crop and Resize"
    FILL = "Resize and Fill"


def flatten_on_grey(rgba: Uint8Image) -> FloatImage:
    """Composite RGBA [H, W, 4] on 50% grey and return RGB [H, W, 3] in [0, 1]. No gamma."""
    grey = np.float32(0.5)
    flat = np.empty((*rgba.shape[:2], 3), np.float32)
    for rows in blocks(rgba):
        scaled = np.divide(rgba[rows], np.float32(255), dtype=np.float32)
        rgb = cv2.cvtColor(scaled, cv2.COLOR_BGRA2BGR)
        alpha = cv2.cvtColor(cv2.extractChannel(scaled, 3), cv2.COLOR_GRAY2BGR)
        flat[rows] = grey + (rgb - grey) * alpha
    return flat


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


def condition_layer(rgba: Uint8Image, mode: ResizeMode, height: int, width: int) -> Uint8Image:
    """The same as a layer: RGBA uint8 [height, width, 4], resized with colours weighted by their alpha."""
    part = rgba.astype(np.float32) / np.float32(255)
    part[..., :3] *= part[..., 3:]
    fitted = fit(part, mode, height, width).clip(0, 1)
    colours = fitted[..., :3] / np.maximum(fitted[..., 3:], np.float32(1e-6))
    return np.rint(np.dstack([colours.clip(0, 1), fitted[..., 3:]]) * 255).astype(np.uint8)


def pad_colour(rgba: Uint8Image) -> FloatImage:
    """Fill invisible pixels with smooth colours: RGBA [H, W, 4] -> RGB float32 [H, W, 3].

    A pyramid of premultiplied colour and alpha, each level 1/1.2 of the one before, is collapsed
    from its smallest level upwards: where a level is transparent, the coarser one shows through.
    All transparent gives black; all opaque gives the picture's own colours.
    """
    if cv2.extractChannel(rgba, 3).min(initial=255) == 255:
        return np.divide(cv2.cvtColor(rgba, cv2.COLOR_BGRA2BGR), np.float32(255), dtype=np.float32)
    level = np.empty(rgba.shape, np.float32)
    for rows in blocks(rgba):
        part = np.divide(rgba[rows], np.float32(255), out=level[rows], dtype=np.float32)
        # with an alpha of 1, which stays what it is
        alpha = cv2.cvtColor(cv2.extractChannel(part, 3), cv2.COLOR_GRAY2BGRA)
        cv2.multiply(part, alpha, dst=part)
    levels = [level]
    while min(level.shape[:2]) != 1:
        size = int(level.shape[1] / 1.2), int(level.shape[0] / 1.2)
        level = np.asarray(cv2.resize(level, size, interpolation=cv2.INTER_AREA), np.float32)
        levels.append(level)
    total = np.maximum(level[..., 3:].sum((0, 1), keepdims=True), np.float32(1e-8))
    filled: FloatImage = level[..., :3].sum((0, 1), keepdims=True) / total
    while levels:
        level = levels.pop()
        size = level.shape[1], level.shape[0]
        filled = np.asarray(cv2.resize(filled, size, interpolation=cv2.INTER_LINEAR), np.float32)
        for rows in blocks(level):
            clear = 1 - cv2.extractChannel(level[rows], 3)
            cv2.multiply(filled[rows], cv2.cvtColor(clear, cv2.COLOR_GRAY2BGR), dst=filled[rows])
            cv2.add(filled[rows], cv2.cvtColor(level[rows], cv2.COLOR_BGRA2BGR), dst=filled[rows])
    return filled


def checkerboard(height: int, width: int, cell: int = 64) -> FloatImage:
    """Return [height, width, 1] of `cell`-pixel squares, 0.45 (top left) and 0.55."""
    odd = np.arange(width) // cell % 2
    lines = np.array([0.45, 0.55], np.float32)[np.stack([odd, 1 - odd])]
    return lines[np.arange(height) // cell % 2, :, None]


def to_uint8(image: FloatImage) -> Uint8Image:
    """[0, 1] -> 0..255, clipped and truncated, as the released models' pictures are made."""
    result = np.empty(image.shape, np.uint8)
    for rows in blocks(image):
        levels = np.multiply(image[rows], np.float32(255), dtype=np.float32)
        result[rows] = np.clip(levels, 0, 255, out=levels)
    return result


def preview(rgba_01: FloatImage) -> Uint8Image:
    """Show straight-alpha RGBA [H, W, 4] over the checkerboard: RGB uint8 [H, W, 3]."""
    result = np.empty((*rgba_01.shape[:2], 3), np.uint8)
    board = checkerboard(*rgba_01.shape[:2])
    for rows in blocks(rgba_01):
        part = np.ascontiguousarray(rgba_01[rows], np.float32)
        alpha = cv2.extractChannel(part, 3)
        shown = cv2.multiply(cv2.cvtColor(part, cv2.COLOR_BGRA2BGR), cv2.cvtColor(alpha, cv2.COLOR_GRAY2BGR))
        behind = cv2.cvtColor(board[rows, :, 0] * (1 - alpha), cv2.COLOR_GRAY2BGR)
        result[rows] = to_uint8(np.asarray(cv2.add(shown, behind), np.float32))
    return result


def blend(new: Uint8Image, old: Uint8Image, mask: Uint8Image) -> Uint8Image:
    """Return RGBA [H, W, 4]: `new` where mask [H, W] is 255, `old` where it is 0, both in proportion between.

    Colours are weighted by their alpha, so an invisible colour never shows.
    """
    result = old.copy()
    np.copyto(result, new, where=mask[..., None] == 255)
    for rows in blocks(new):
        between = (mask[rows] > 0) & (mask[rows] < 255)
        share = mask[rows][between, None].astype(np.float32) / np.float32(255)
        some, others = new[rows][between], old[rows][between]
        some_alpha, others_alpha = some[:, 3:] * share, others[:, 3:] * (1 - share)
        alpha = some_alpha + others_alpha
        colour = some[:, :3] * some_alpha + others[:, :3] * others_alpha
        colour /= np.maximum(alpha, np.float32(1e-6))
        result[rows][between] = np.concatenate([colour, alpha], axis=1).round().clip(0, 255)
    return result
