"""What of a picture is covered, solid, see-through, and nothing at all.

The alpha plane is bytes [height, width] in 0 to 255, so that this needs no package.
"""

from __future__ import annotations

from typing import NamedTuple

FRAME = 0.02
"""Width of the outer frame, in the shorter side's length."""
CLEAR, SOLID = 8, 250
"""The highest alpha that shows nothing, and the lowest that hides everything."""


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
