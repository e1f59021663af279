"""What a transparent picture is laid on while a model without transparency repaints it; how it comes off.

The picture that the model sees is a * F + (1 - a) * B, with a plain or smooth backdrop B. What it makes of it
lies on about the same backdrop, which is known here: so colours at half-transparent places can be told.
"""

from __future__ import annotations

import cv2
import numpy as np

from lib_layerdiffusion.pictures.arithmetic import FloatImage, Uint8Image, blocks

REACH = 0.25
"""How far colours are bled, a Gaussian's width as a share of the longer side: so far that a shape shows."""
CELLS = 64
"""Pixels of the longer side that a bled backdrop is computed with."""
FAR = 1e-3
"""Weight of the mean colour of all that is visible, beside what is near: it counts where nothing is."""
UNSURE = 0.02
"""Square of the alpha below which a colour comes from around a pixel more than from itself."""
AROUND = 2
"""Pixels around one that such a colour comes from."""


def bled(rgba: Uint8Image) -> FloatImage:
    """Return the colours of RGBA [H, W, 4], spread smoothly over all of it: RGB [H, W, 3], 0 to 255.

    Grey where nothing is visible.
    """
    height, width = rgba.shape[:2]
    scale = min(1.0, CELLS / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    share = rgba[..., 3:].astype(np.float32) / np.float32(255)
    premultiplied = np.dstack([rgba[..., :3] * share, share])
    small = np.asarray(cv2.resize(premultiplied, size, interpolation=cv2.INTER_AREA), np.float32)
    mean = small.reshape(-1, 4).mean(0)
    if mean[3] == 0:
        return np.full((height, width, 3), 127, np.float32)
    spread = cv2.GaussianBlur(small, (0, 0), REACH * max(size), borderType=cv2.BORDER_CONSTANT)
    spread = spread.reshape(small.shape) + FAR * mean
    colours = (spread[..., :3] / spread[..., 3:]).clip(0, 255)
    return np.asarray(cv2.resize(colours, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)


def plain(colour: tuple[int, int, int], height: int, width: int) -> FloatImage:
    """Return one colour everywhere: RGB [height, width, 3], 0 to 255."""
    return np.full((height, width, 3), colour, np.float32)


def laid_on(rgba: Uint8Image, backdrop: FloatImage) -> Uint8Image:
    """Return RGBA [H, W, 4] on an opaque backdrop [H, W, 3]: RGB uint8 [H, W, 3]."""
    result = np.empty(backdrop.shape, np.uint8)
    for rows in blocks(backdrop):
        share = rgba[rows, :, 3:].astype(np.float32) / np.float32(255)
        mixed = rgba[rows, :, :3] * share + backdrop[rows] * (1 - share)
        result[rows] = np.rint(mixed.clip(0, 255))
    return result


def taken_off(repainted: Uint8Image, alpha: Uint8Image, backdrop: FloatImage) -> Uint8Image:
    """Return a repainted RGB [H, W, 3] with alpha [H, W] and without the backdrop [H, W, 3]: RGBA uint8.

    Where the picture is empty, the repaint shows by how much the backdrop has changed; that is spread to
    where it is not seen. Opaque colours stay. What is hardly there has colours from around it.
    """
    result = np.dstack([repainted, alpha])
    partial = (alpha > 0) & (alpha < 255)
    if not partial.any():
        return result
    share = alpha.astype(np.float32) / np.float32(255)
    behind = backdrop + _change(repainted, alpha, backdrop)
    own = share[..., None] * (repainted - (1 - share[..., None]) * behind)
    weight = np.square(share)
    total = _around(weight) + np.float32(1e-4)
    near = _around((own / np.maximum(weight, np.float32(1e-3))[..., None]).clip(0, 255) * weight[..., None])
    near = (near + np.float32(1e-4) * repainted) / total[..., None]
    colour = (own + np.float32(UNSURE) * near) / (weight + np.float32(UNSURE))[..., None]
    np.copyto(result[..., :3], np.rint(colour.clip(0, 255)).astype(np.uint8), where=partial[..., None])
    return result


def _change(repainted: Uint8Image, alpha: Uint8Image, backdrop: FloatImage) -> FloatImage:
    """How much the repaint has changed the backdrop, smoothly over the picture: [H, W, 3] levels."""
    height, width = alpha.shape
    scale = min(1.0, CELLS / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    seen = (alpha == 0).astype(np.float32)[..., None]
    both = np.dstack([(repainted - backdrop) * seen, seen])
    level = np.asarray(cv2.resize(both, size, interpolation=cv2.INTER_AREA), np.float32)
    spread = cv2.GaussianBlur(level, (0, 0), CELLS / 16, borderType=cv2.BORDER_CONSTANT).reshape(level.shape)
    # where none of it is near, none of a change is known
    change = spread[..., :3] / np.maximum(spread[..., 3:], np.float32(1e-2))
    return np.asarray(cv2.resize(change, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)


def _around(plane: FloatImage) -> FloatImage:
    side = 2 * AROUND + 1
    return np.asarray(cv2.blur(plane, (side, side)), np.float32)
