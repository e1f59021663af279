"""Backgrounds that are drawn by formula: places with a name, which prompts can ask for, and patterns.

All are float32 [H, W, 3] in [0, 1], and differ with every draw of `rng`.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from lib_layerdiffusion.pictures.arithmetic import FloatImage

Rng = np.random.Generator
Draw = Callable[[Rng, int, int], FloatImage]


def _colour(*levels: int) -> FloatImage:
    return np.array(levels, np.float32) / np.float32(255)


def noise(rng: Rng, height: int, width: int, cells: int) -> FloatImage:
    """Smooth values in [0, 1], [H, W, 1], with about `cells` bumps per side."""
    grid = rng.random((cells + 2, cells + 2), np.float32)
    smooth = cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC).clip(0, 1)
    return np.asarray(smooth, np.float32)[..., None]


def _rows(height: int, width: int) -> FloatImage:
    rows = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    return np.broadcast_to(rows, (height, width, 1))


def _mix(a: FloatImage, b: FloatImage, share: FloatImage) -> FloatImage:
    return np.asarray(a + (b - a) * share, np.float32)


def _land(
    rng: Rng, height: int, width: int, sky: FloatImage, near: FloatImage, far: FloatImage
) -> FloatImage:
    horizon = rng.uniform(0.5, 0.68)
    columns = np.linspace(0, 1, width, dtype=np.float32)[None, :, None]
    hill = horizon + 0.04 * np.sin(columns * rng.uniform(3, 9) + rng.uniform(0, 6))
    rows = _rows(height, width)
    ground = _mix(far, near, ((rows - horizon) / (1 - horizon)).clip(0, 1))
    return _mix(sky, ground, ((rows - hill) * height / 2 + 0.5).clip(0, 1))


def sky(rng: Rng, height: int, width: int) -> FloatImage:
    blue = _mix(_colour(70, 140, 225), _colour(180, 220, 250), _rows(height, width))
    clouds = ((noise(rng, height, width, 3) - 0.55) * 4).clip(0, 0.9)
    return _mix(blue, _colour(250, 252, 255), clouds)


def meadow(rng: Rng, height: int, width: int) -> FloatImage:
    return _land(rng, height, width, sky(rng, height, width), _colour(60, 135, 40), _colour(140, 195, 80))


def desert(rng: Rng, height: int, width: int) -> FloatImage:
    air = _mix(_colour(120, 185, 230), _colour(250, 235, 205), _rows(height, width))
    return _land(rng, height, width, air, _colour(215, 150, 80), _colour(245, 205, 140))


def sea(rng: Rng, height: int, width: int) -> FloatImage:
    air = _mix(_colour(150, 205, 240), _colour(225, 240, 250), _rows(height, width))
    return _land(rng, height, width, air, _colour(10, 70, 130), _colour(60, 150, 190))


def sunset(rng: Rng, height: int, width: int) -> FloatImage:
    air = _mix(_colour(100, 60, 130), _colour(255, 160, 60), (_rows(height, width) * 1.4).clip(0, 1))
    return _land(rng, height, width, air, _colour(35, 20, 50), _colour(100, 50, 70))


def night(rng: Rng, height: int, width: int) -> FloatImage:
    air = _mix(_colour(8, 10, 35), _colour(40, 45, 95), _rows(height, width))
    stars = (rng.random((height // 4 + 1, width // 4 + 1), np.float32) > 0.985).astype(np.float32)
    stars = cv2.resize(stars, (width, height), interpolation=cv2.INTER_CUBIC).clip(0, 1)[..., None]
    return _mix(air, _colour(255, 250, 220), stars)


def snow(rng: Rng, height: int, width: int) -> FloatImage:
    air = _mix(_colour(150, 170, 195), _colour(215, 225, 235), _rows(height, width))
    return _land(rng, height, width, air, _colour(225, 232, 245), _colour(250, 252, 255))


def table(rng: Rng, height: int, width: int) -> FloatImage:
    wall = np.broadcast_to(_colour(232, 218, 195), (height, width, 3))
    return _land(rng, height, width, wall, _colour(120, 70, 35), _colour(160, 100, 55))


PLACES: dict[str, Draw] = {
    draw.__name__: draw for draw in (sky, meadow, desert, sea, sunset, night, snow, table)
}


def pattern(rng: Rng, height: int, width: int) -> FloatImage:
    """Two or three colours that mean nothing: flat, a gradient, stripes, squares, blobs."""
    a, b, c = rng.random((3, 3), np.float32)
    angle = rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    along = ((x * np.cos(angle) + y * np.sin(angle)) / max(height, width))[..., None].astype(np.float32)
    kind = rng.integers(5)
    if kind == 0:
        share = np.zeros((height, width, 1), np.float32)
    elif kind == 1:
        share = (along * 0.7 + rng.uniform(0, 0.5)).clip(0, 1)
    elif kind == 2:
        share = 0.5 + 0.5 * np.sin(along * rng.uniform(10, 60))
    elif kind == 3:
        cell = rng.integers(6, 40)
        share = ((x // cell + y // cell) % 2)[..., None]
    else:
        share = noise(rng, height, width, int(rng.integers(2, 9)))
    mixed = _mix(a, b, np.asarray(share, np.float32))
    return _mix(mixed, c, noise(rng, height, width, 2) * np.float32(rng.uniform(0, 0.6)))


def background(rng: Rng, height: int, width: int) -> FloatImage:
    """A place or a pattern, each half of the time."""
    if rng.random() < 0.5:
        return pattern(rng, height, width)
    return PLACES[list(PLACES)[rng.integers(len(PLACES))]](rng, height, width)
