"""Subjects drawn by formula at places x, y from -1 to 1: loose hair, glass, glow, star, ring, figure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

Plane = np.ndarray
Drawn = tuple[Sequence[Plane], Plane]
"""Red, green and blue in levels, and alpha from 0 to 1."""


def _hair(x: Plane, y: Plane, sharp: float) -> Drawn:
    away, angle = np.hypot(x, y + 0.05), np.arctan2(y + 0.05, x)
    beyond = (away - 0.5) / 0.35
    strand = np.sin(40 * angle + 9 * beyond) - 0.9 * beyond
    loose = np.where(beyond < 1, _part(strand * 1.8) * _part((1 - beyond) * 2), 0)
    stripes = 10 + 10 * np.sin(25 * x + 9 * np.sin(5 * y))
    colours = 190 - 60 * y + stripes, 110 + 90 * x + stripes, 60 + 60 * y * y
    return colours, np.maximum(_inside(0.5 - away, sharp), loose)


def _glass(x: Plane, y: Plane, sharp: float) -> Drawn:
    away = np.hypot(x / 0.5, y / 0.7)
    rim, shine = _part((away - 0.8) * 5), _part(1.2 - 4 * np.hypot(x / 0.5 + 0.4, y / 0.7 + 0.45))
    alpha = _inside(1 - away, sharp / 2) * (0.3 + 0.4 * rim + (0.65 - 0.4 * rim) * shine)
    white = 0.75 * shine + 0.25 * rim
    return (90 + 165 * white, 190 + 65 * white, 215 + 40 * white), alpha


def _glow(x: Plane, y: Plane, sharp: float) -> Drawn:
    away = np.hypot(x, y)
    core = _inside(0.2 - away, sharp)
    around = 0.9 * np.exp(-((away / 0.35) ** 2)) * _part((1 - away) * 3)
    alpha = core + around * (1 - core)
    share = core / np.maximum(alpha, 1e-6)
    return (250 + 5 * share, 190 + 55 * share, 70 + (130 + 30 * x) * share), alpha


def _star(x: Plane, y: Plane, sharp: float) -> Drawn:
    detail = 25 * np.sin(30 * x) * np.sin(27 * y)
    edge = 0.45 + 0.2 * np.cos(5 * np.arctan2(y, x))
    colours = 60 + 70 * _part(0.5 + x) + detail, 80 + detail, 170 + 50 * y + detail
    return colours, _inside(edge - np.hypot(x, y), 0.7 * sharp)


def _ring(x: Plane, y: Plane, sharp: float) -> Drawn:
    away = np.hypot(1.1 * x, y)
    colours = 200 + 30 * np.sin(8 * x + 3 * y), 160 + 20 * np.sin(9 * y), np.full_like(x, 40)
    return colours, _inside(0.7 - away, sharp) * _inside(away - 0.45, sharp)


def _figure(x: Plane, y: Plane, sharp: float) -> Drawn:
    """Light inside a dark outline, as drawn figures are."""
    head = np.hypot(1.2 * x, y + 0.35) - 0.35
    body = np.maximum(np.abs(x + 0.1 * np.sin(6 * y)) - 0.3, np.abs(y - 0.25) - 0.5)
    depth = -np.minimum(head, body)
    fill = _part((depth - 0.03) * sharp / 2)
    light = 235 - 80 * (y > 0), 200 - 60 * (y > 0), 180 + 50 * (y > 0.1)
    return [20 + fill * (level - 20) for level in light], _inside(depth, sharp)


def _part(value: Plane) -> Plane:
    return np.clip(value, 0, 1)


def _inside(depth: Plane, sharp: float) -> Plane:
    return _part(depth * sharp + 0.5)


SUBJECTS: dict[str, Callable[[Plane, Plane, float], Drawn]] = {
    "hair": _hair,
    "glass": _glass,
    "glow": _glow,
    "star": _star,
    "ring": _ring,
    "figure": _figure,
}
