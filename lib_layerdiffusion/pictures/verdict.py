"""How transparent a picture came out, in numbers and a word; and how far it is from a known one.

Planes are bytes [height, width] in 0 to 255, so that these need no package; sums are of whole numbers, so
that they are the same everywhere.
"""

from __future__ import annotations

import math
from operator import mul, sub
from typing import NamedTuple

from lib_layerdiffusion.pictures.png import Raster

FRAME = 0.02
"""Width of the outer frame, in the shorter side's length."""
CLEAR, SOLID = 8, 250
"""The highest alpha that shows nothing, and the lowest that hides everything."""
FAILED_BORDER, WEAK_BORDER = 0.9, 0.35
"""Shares of the frame that are covered: nearly all of it, and more than a subject that is cut off covers."""
FAILED_FRAME, WEAK_FRAME = 0.5, 32 / 255
"""Mean alpha of the frame that goes with them: half of it, and more than a veil that others let pass."""

BACKGROUND_MEAN = (-0.0357, -0.0811, -0.1797)
BACKGROUND_SQUARE = (0.3163, 0.3060, 0.3634)
"""Means of a random background's red, green and blue in [-1, 1], and of their squares (AlphaVAE, 2025)."""


class Shares(NamedTuple):
    """Shares of a picture, 0 to 1: of its frame that is covered; solid; in between; and of nothing at all.

    `frame` is the frame's mean alpha, 0 to 1.
    """

    border: float
    frame: float
    subject: float
    see_through: float
    clear: float


def _above(limit: int) -> bytes:
    return bytes(value > limit for value in range(256))


_COVERED, _SOLID = _above(CLEAR), _above(SOLID - 1)


def shares(alpha: bytes, width: int, height: int) -> Shares:
    """Return them for an alpha plane."""
    covered, solid = alpha.translate(_COVERED), alpha.translate(_SOLID)
    thick = max(1, round(FRAME * min(width, height)))
    parts = [slice(row * width + thick, (row + 1) * width - thick) for row in range(thick, height - thick)]
    inner = b"".join(covered[part] for part in parts)
    frame = max(1, len(alpha) - len(inner))
    count, subject = covered.count(1), solid.count(1) / len(alpha)
    return Shares(
        border=(count - inner.count(1)) / frame,
        frame=(sum(alpha) - sum(sum(alpha[part]) for part in parts)) / frame / 255,
        subject=subject,
        see_through=count / len(alpha) - subject,
        clear=1 - count / len(alpha),
    )


class Verdict(NamedTuple):
    """`word` is clean, weak or failed; `reason` a part of a sentence."""

    word: str
    reason: str


def verdict(of: Shares) -> Verdict:
    """Return what the shares say of a picture that was to be one subject on nothing."""
    if of.clear == 1:
        return Verdict("failed", "nothing is visible")
    if of.border >= FAILED_BORDER and of.frame >= FAILED_FRAME:
        return Verdict("failed", "hardly anything is transparent")
    if of.border >= WEAK_BORDER and of.frame > WEAK_FRAME:
        return Verdict("weak", f"{of.border:.0%} of the border is covered")
    return Verdict("clean", "a subject on nothing")


class Errors(NamedTuple):
    """How far a picture is from the true one.

    `alpha` and `colour` are mean absolute errors in 0 to 1, the latter of the true one's opaque pixels;
    `red` is how much redder those became, in 0 to 1; `expected` the mean squared error over a random
    background, colours in [-1, 1].
    """

    alpha: float
    colour: float
    red: float
    expected: float

    @property
    def psnr(self) -> float:
        """The last one in dB, as of pictures whose values span 2."""
        return 10 * math.log10(4 / max(self.expected, 1e-9))


def errors(picture: Raster, true: Raster) -> Errors:
    """Compare RGBA (or RGB) with RGBA of the same size."""
    alpha, wanted = picture.alpha(), true.alpha()
    away = list(map(sub, alpha, wanted))
    opaque = wanted.translate(bytes(value == 255 for value in range(256)))
    count = max(1, opaque.count(1))
    # colour and background in [-1, 1] are n / 255, alpha in [0, 1] is so too
    squares_of_alpha = sum(map(mul, away, away))
    absolute, shifts, expected = 0, [], 0.0
    for channel in range(3):
        have, want = picture.plane(channel), true.plane(channel)
        difference = list(map(mul, map(sub, have, want), opaque))
        absolute += sum(map(abs, difference))
        shifts.append(sum(difference) / count / 255)
        shown = map(sub, _weighted(have, alpha), _weighted(want, wanted))
        shown_difference = list(shown)
        expected += (
            sum(map(mul, shown_difference, shown_difference)) / 255**4
            - 2 * BACKGROUND_MEAN[channel] * sum(map(mul, shown_difference, away)) / 255**3
            + BACKGROUND_SQUARE[channel] * squares_of_alpha / 255**2
        )
    return Errors(
        alpha=sum(map(abs, away)) / len(away) / 255,
        colour=absolute / count / 3 / 255,
        red=shifts[0] - (shifts[1] + shifts[2]) / 2,
        expected=expected / 3 / len(away),
    )


_SIGNED = [2 * value - 255 for value in range(256)]


def _weighted(plane: bytes, alpha: bytes) -> list[int]:
    """Colour in [-255, 255] times alpha in [0, 255]."""
    return list(map(mul, map(_SIGNED.__getitem__, plane), alpha))
