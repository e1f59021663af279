"""How far a picture is from a known one.

Pictures are rasters of bytes, so that this needs no package; sums are of whole numbers, so that they are the
same everywhere.
"""

from __future__ import annotations

import math
from operator import mul, sub
from typing import NamedTuple

from lib_layerdiffusion.pictures.png import Raster

BACKGROUND_MEAN = (-0.0357, -0.0811, -0.1797)
BACKGROUND_SQUARE = (0.3163, 0.3060, 0.3634)
"""Means of a random background's red, green and blue in [-1, 1], and of their squares (AlphaVAE, 2025)."""


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
