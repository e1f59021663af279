"""Transparent pictures drawn by formula, for what is done to finished ones."""

from __future__ import annotations

import cv2
import numpy as np

from lib_layerdiffusion.pictures.arithmetic import Uint8Image


def coloured(alpha: Uint8Image) -> Uint8Image:
    """A picture with this alpha [H, W] and a smooth colour of its own everywhere."""
    height, width = alpha.shape
    y, x = np.mgrid[:height, :width].astype(np.float32)
    colours = [60 + 120 * x / width, 200 - 100 * y / height, 90 + 60 * (x + y) / (height + width)]
    return np.dstack([np.stack(colours, axis=-1).astype(np.uint8), alpha])


def disc(side: int, radius: float, x: float | None = None, y: float | None = None) -> Uint8Image:
    """Alpha of a disc with an edge of one pixel, in the middle if nothing else is said."""
    rows, columns = np.mgrid[:side, :side]
    centre_x, centre_y = side / 2 if x is None else x, side / 2 if y is None else y
    inside = np.clip(radius + 0.5 - np.hypot(columns - centre_x, rows - centre_y), 0, 1)
    return np.rint(inside * 255).astype(np.uint8)


def hairy(side: int, strands: int = 60) -> Uint8Image:
    """Alpha of a head with loose hair: thin curved strands that begin in it and fade out."""
    result = disc(side, side * 0.22).astype(np.float32)
    along = np.linspace(0, 1, 400)
    random = np.random.default_rng(3)
    for angle in np.linspace(0, 2 * np.pi, strands, endpoint=False):
        bend = random.uniform(-0.8, 0.8)
        distance = side * (0.2 + 0.24 * along)
        x = side / 2 + distance * np.cos(angle + bend * along)
        y = side / 2 + distance * np.sin(angle + bend * along)
        strand = np.zeros((side, side), np.float32)
        for place_x, place_y, strength in zip(x, y, 230 * (1 - 0.8 * along), strict=True):
            strand[int(place_y), int(place_x)] = strength
        result = np.maximum(result, cv2.GaussianBlur(strand, (0, 0), 0.6) * 1.6)
    return np.rint(result.clip(0, 255)).astype(np.uint8)


def over(rgba: Uint8Image, background: np.ndarray | int) -> np.ndarray:
    """Colours [H, W, 3] of straight alpha over a background, float."""
    share = rgba[..., 3:].astype(np.float32) / 255
    return np.asarray(rgba[..., :3] * share + np.float32(background) * (1 - share), np.float32)
