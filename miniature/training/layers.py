"""Training layers made from a picture: placed, made glassy, given a glow or a shadow, laid over another.

A layer is float32 [H, W, 4] in [0, 1], colour premultiplied by alpha, which comes last.
"""

from __future__ import annotations

import cv2
import numpy as np

from lib_layerdiffusion.pictures.arithmetic import FloatImage, Uint8Image
from miniature.training.backgrounds import Rng, noise


def premultiplied(rgba: Uint8Image) -> FloatImage:
    layer = rgba.astype(np.float32) / np.float32(255)
    layer[..., :3] *= layer[..., 3:]
    return layer


def straight(layer: FloatImage) -> Uint8Image:
    """RGBA uint8 with straight colour, black where nothing is visible."""
    alpha = layer[..., 3:]
    colour = layer[..., :3] / np.maximum(alpha, np.float32(1 / 512))
    return (np.concatenate([colour, alpha], axis=2) * 255).round().clip(0, 255).astype(np.uint8)


def opaque(rgb: FloatImage) -> Uint8Image:
    """RGBA uint8 [H, W, 4] of RGB [H, W, 3] in [0, 1]."""
    rgba = np.concatenate([rgb, np.ones_like(rgb[..., :1])], axis=2)
    return (rgba * 255).round().clip(0, 255).astype(np.uint8)


def over(layer: FloatImage, background: FloatImage) -> FloatImage:
    """RGB [H, W, 3] of the layer on an opaque background."""
    return np.asarray(layer[..., :3] + background[..., :3] * (1 - layer[..., 3:]), np.float32)


def put(layer: FloatImage, side: int, scale: float, x: float, y: float, mirrored: bool = False) -> FloatImage:
    """Put a square layer, `scale` times `side` large, with its middle at (x, y) in units of `side`."""
    ratio = scale * side / layer.shape[0]
    if ratio < 1:
        small = max(1, round(layer.shape[0] * ratio))
        layer = np.asarray(cv2.resize(layer, (small, small), interpolation=cv2.INTER_AREA), np.float32)
        ratio = scale * side / small
    half = (layer.shape[0] - 1) / 2
    across = -ratio if mirrored else ratio
    matrix = np.array(
        [[across, 0, x * side - 0.5 - across * half], [0, ratio, y * side - 0.5 - ratio * half]]
    )
    placed = cv2.warpAffine(layer, matrix, (side, side), flags=cv2.INTER_LINEAR)
    return np.asarray(placed, np.float32)


def glassy(layer: FloatImage, rng: Rng) -> FloatImage:
    """See-through: alpha times a smooth field, with what is bright left more visible."""
    height, width = layer.shape[:2]
    field = rng.uniform(0.15, 0.6) + rng.uniform(0, 0.5) * noise(rng, height, width, 3)
    light = layer[..., :3].max(axis=2, keepdims=True)
    return np.asarray(layer * np.clip(field + rng.uniform(0, 0.4) * light**3, 0, 1), np.float32)


def _behind(layer: FloatImage, other: FloatImage) -> FloatImage:
    return np.asarray(layer + other * (1 - layer[..., 3:]), np.float32)


def _spread(layer: FloatImage, radius: float) -> FloatImage:
    blurred = cv2.GaussianBlur(layer[..., 3], (0, 0), max(0.5, radius * layer.shape[0]))
    return np.asarray(blurred, np.float32)[..., None]


def glowing(layer: FloatImage, rng: Rng) -> FloatImage:
    """A halo of one bright colour."""
    alpha = (_spread(layer, rng.uniform(0.03, 0.1)) * rng.uniform(0.8, 1.6)).clip(0, 0.95)
    colour = rng.random(3, np.float32) * np.float32(0.6) + np.float32(0.4)
    return _behind(layer, np.concatenate([colour * alpha, alpha], axis=2).astype(np.float32))


def shadowed(layer: FloatImage, rng: Rng) -> FloatImage:
    """A soft black shadow, moved a little."""
    alpha = _spread(layer, rng.uniform(0.01, 0.05)) * rng.uniform(0.2, 0.7)
    move = np.array([[1, 0, rng.uniform(-0.08, 0.08)], [0, 1, rng.uniform(0, 0.1)]])
    move[:, 2] *= layer.shape[0]
    alpha = np.asarray(cv2.warpAffine(alpha, move, alpha.shape[1::-1]), np.float32)[..., None]
    return _behind(layer, np.concatenate([np.zeros_like(layer[..., :3]), alpha], axis=2).astype(np.float32))


VARIANTS = (glassy, glowing, shadowed)


def varied(layer: FloatImage, rng: Rng, share: float) -> FloatImage:
    """One of the variants for this share of the draws, else the layer itself."""
    return VARIANTS[rng.integers(len(VARIANTS))](layer, rng) if rng.random() < share else layer


def random_layer(picture: Uint8Image, rng: Rng, side: int, share: float = 0.5) -> FloatImage:
    """A picture at a random size and place, as a whole or cut by the border, perhaps see-through."""
    scale = rng.uniform(0.5, 1.0) if rng.random() < 0.5 else rng.uniform(1.0, 2.2)
    free = abs(1 - scale) / 2
    x, y = (0.5 + rng.uniform(-free, free) for _ in range(2))
    layer = put(premultiplied(picture), side, scale, x, y, mirrored=bool(rng.integers(2)))
    return varied(layer, rng, share)
