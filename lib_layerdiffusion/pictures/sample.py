"""Pictures drawn by formula, at any size: one with all that makes transparency hard, and a landscape."""

from __future__ import annotations

import math

from lib_layerdiffusion.pictures.png import Raster, join

Colour = tuple[float, float, float]

SUBJECT, RADIUS, HAIR = (-0.18, -0.1), 0.42, 0.2
"""Centre, radius, and length of the hair around it; pictures reach from -1 to 1."""
STRANDS = 36
GLASS, GLASS_SIZE = (0.5, 0.2), (0.3, 0.42)
SHADOW, SHADOW_SIZE = (0.0, 0.62), (0.75, 0.2)


def _soft(value: float) -> float:
    return 0.0 if value <= 0 else 1.0 if value >= 1 else value


def _over(top: Colour, alpha: float, below: Colour, covered: float) -> tuple[Colour, float]:
    """Straight colour and alpha of a layer over what is there."""
    total = alpha + covered * (1 - alpha)
    if total == 0:
        return (0.0, 0.0, 0.0), 0.0
    rest = covered * (1 - alpha)
    mixed = tuple((t * alpha + b * rest) / total for t, b in zip(top, below, strict=True))
    return (mixed[0], mixed[1], mixed[2]), total


def transparent(width: int, height: int) -> Raster:
    """An opaque ball with loose hair, a glass beside it, and a soft shadow: RGBA [height, width].

    Its channels differ, no axis mirrors it onto itself, and the frame is clear.
    """
    soften = min(width, height) / 4
    planes = [bytearray(width * height) for _ in range(4)]
    for row in range(height):
        y = (2 * row + 1) / height - 1
        for column in range(width):
            x = (2 * column + 1) / width - 1
            colour, alpha = _pixel(x, y, soften)
            if alpha:
                at = row * width + column
                for plane, value in zip(planes, (*colour, 255 * alpha), strict=True):
                    plane[at] = round(value)
    return join(width, height, *map(bytes, planes))


def _pixel(x: float, y: float, soften: float) -> tuple[Colour, float]:
    colour, alpha = _shadow(x, y)
    glass = _glass(x, y, soften)
    if glass[1]:
        colour, alpha = _over(*glass, colour, alpha)
    ball = _ball(x, y, soften)
    if ball[1]:
        colour, alpha = _over(*ball, colour, alpha)
    return colour, alpha


def _shadow(x: float, y: float) -> tuple[Colour, float]:
    across, down = (x - SHADOW[0]) / SHADOW_SIZE[0], (y - SHADOW[1]) / SHADOW_SIZE[1]
    away = across * across + down * down
    return (24.0, 22.0, 40.0), 0.6 * (1 - away) ** 2 if away < 1 else 0.0


def _glass(x: float, y: float, soften: float) -> tuple[Colour, float]:
    across, down = (x - GLASS[0]) / GLASS_SIZE[0], (y - GLASS[1]) / GLASS_SIZE[1]
    away = math.hypot(across, down)
    inside = _soft((1 - away) * soften * GLASS_SIZE[0] * 2)
    if not inside:
        return (0.0, 0.0, 0.0), 0.0
    rim = _soft((away - 0.8) * 5)
    shine = _soft(1.2 - 5 * math.hypot(across + 0.4, down + 0.45))
    strength = 0.3 + 0.4 * rim + (0.65 - 0.4 * rim) * shine
    white = 0.75 * shine + 0.25 * rim
    tint = (90.0, 190.0, 215.0)
    return (
        tint[0] + (255 - tint[0]) * white,
        tint[1] + (255 - tint[1]) * white,
        tint[2] + (255 - tint[2]) * white,
    ), inside * strength


def _ball(x: float, y: float, soften: float) -> tuple[Colour, float]:
    across, down = x - SUBJECT[0], y - SUBJECT[1]
    away = math.hypot(across, down)
    if away > RADIUS + HAIR:
        return (0.0, 0.0, 0.0), 0.0
    colour = 195 - 80 * down, 110 + 120 * across - 40 * down, 60 + 70 * down * down
    solid = _soft((RADIUS - away) * soften * 2 + 0.5)
    if solid == 1:
        return colour, 1.0
    # strands that wind outwards and grow thin
    beyond = (away - RADIUS) / HAIR
    strand = math.sin(STRANDS * math.atan2(down, across) + 9 * beyond) - 0.9 * beyond
    return colour, max(solid, _soft(strand * 1.8) * _soft((1 - beyond) * 2))


def landscape(width: int, height: int) -> Raster:
    """Sky, a far ridge and a meadow: opaque RGB [height, width]."""
    planes = [bytearray(width * height) for _ in range(3)]
    for row in range(height):
        y = (row + 0.5) / height
        for column in range(width):
            x = (column + 0.5) / width
            ridge = 0.45 + 0.05 * math.sin(7 * x) + 0.02 * math.sin(19 * x + 1)
            if y < ridge:
                colour = 110 + 90 * y, 160 + 70 * y, 235 - 30 * y
            else:
                wave = 8 * math.sin(40 * x + 9 * math.sin(30 * y))
                colour = 70 + 40 * y + wave, 150 - 60 * (y - ridge) + wave, 60 + 10 * x
            at = row * width + column
            for plane, value in zip(planes, colour, strict=True):
                plane[at] = round(value)
    return join(width, height, *map(bytes, planes))


def over(top: Raster, below: Raster) -> Raster:
    """Lay RGBA over opaque RGB of the same size; returns RGB."""
    alpha = top.alpha()
    planes = []
    for channel in range(3):
        pairs = zip(top.plane(channel), below.plane(channel), alpha, strict=True)
        planes.append(bytes((a * t + (255 - a) * b + 127) // 255 for t, b, a in pairs))
    return join(top.width, top.height, *planes)
