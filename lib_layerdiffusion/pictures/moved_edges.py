"""The alpha of a picture, brought to where its edges are after a model has painted it again.

A repaint moves edges by a few pixels, and nobody says where. But the picture that the model saw is known, and
so is the one that it made: where the second is the first, moved, the alpha moves along. The displacement d
minimises the squares of I(x) - S(x - d) in a square around each pixel, plus a penalty on d itself: Lucas and
Kanade 1981 with a ridge, by box filters alone. Brightness and contrast of S are matched before, place by
place. Where there is nothing to go by, or moving explains little, d is 0.
"""

from __future__ import annotations

import cv2
import numpy as np

from lib_layerdiffusion.pictures.arithmetic import FloatImage, Uint8Image

ROUNDS = 4
"""How often the displacement is refined."""
RIDGE = 3.0
"""Levels of contrast around a pixel below which it rather stays."""
NOISE = 30.0
"""Squared levels, of three colours, that a repaint differs by everywhere."""
LITTLE, MUCH = 0.15, 0.4
"""Part of the difference that moving explains: nothing moves below, all of it above."""
FLAT = 20.0
"""Variance in levels of a place without contrast of its own."""


def reach(height: int, width: int, denoising: float) -> int:
    """Return how many pixels an edge may move: more in a large picture, and with more denoising (0 to 1)."""
    return round(1 + min(height, width) * denoising / 100)


def follow(
    alpha: Uint8Image, shown: Uint8Image, repainted: Uint8Image, strength: float, denoising: float
) -> Uint8Image:
    """Return the alpha [H, W] of the picture that was `shown` (RGB [H, W, 3]) as it fits `repainted`.

    `strength` from 0, the alpha as it is, to 1; `denoising` is that of the repaint, 0 to 1. Only a band
    around the edge changes; opaque inside and empty outside stay.
    """
    away = reach(alpha.shape[0], alpha.shape[1], denoising)
    if strength <= 0 or alpha.min(initial=255) == alpha.max(initial=0):
        return alpha
    band = _band(alpha, away)
    top, bottom, left, right = _box(band, 8 * away)
    part = np.ascontiguousarray(alpha[top:bottom, left:right])
    moved = displacement(shown[top:bottom, left:right], repainted[top:bottom, left:right], away)
    moved *= np.float32(strength)
    rows, columns = np.indices(part.shape, np.float32)
    found = cv2.remap(
        part, columns - moved[..., 0], rows - moved[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    result = alpha.copy()
    np.copyto(result[top:bottom, left:right], found, where=band[top:bottom, left:right])
    return result


def displacement(shown: Uint8Image, repainted: Uint8Image, away: int) -> FloatImage:
    """Return by how many pixels, right and down, each place has moved: [H, W, 2], at most `away` each."""
    around, wide = max(2, 2 * away), max(4, 8 * away)
    before, after = (_relative(picture, wide) for picture in (shown, repainted))
    gain = (_mean(before * after, wide) + FLAT) / (_mean(before * before, wide) + FLAT)
    before *= gain.clip(0.3, 3)
    height, width = before.shape[:2]
    rows, columns = np.indices((height, width), np.float32)

    def at(d: FloatImage) -> FloatImage:
        moved = cv2.remap(
            before,
            columns - d[..., 0],
            rows - d[..., 1],
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )
        return np.asarray(moved, np.float32)

    d = np.zeros((height, width, 2), np.float32)
    ridge = np.float32(RIDGE**2)
    for _ in range(ROUNDS):
        moved = at(d)
        right, down = (np.asarray(cv2.Scharr(moved, cv2.CV_32F, *axis)) / 32 for axis in ((1, 0), (0, 1)))
        missing = after - moved
        a, b, c = _sum(right * right, around), _sum(right * down, around), _sum(down * down, around)
        # the ridge holds all of the displacement back, not only what this round adds
        u = a * d[..., 0] + b * d[..., 1] - _sum(right * missing, around)
        v = b * d[..., 0] + c * d[..., 1] - _sum(down * missing, around)
        a += ridge
        c += ridge
        found = np.dstack([c * u - b * v, a * v - b * u]) / (a * c - b * b)[..., None]
        d = _mean(found.clip(-away, away).astype(np.float32), around)
    still, left = (_sum(np.square(after - one), around) for one in (before, at(d)))
    explained = (still - left) / (still + np.float32(NOISE))
    share = ((explained - LITTLE) / (MUCH - LITTLE)).clip(0, 1)
    return d * (share * share * (3 - 2 * share))[..., None].astype(np.float32)


def _relative(picture: Uint8Image, wide: int) -> FloatImage:
    """Levels beside those around; a little softened, so that slopes reach further."""
    soft = np.asarray(cv2.GaussianBlur(picture.astype(np.float32), (0, 0), 1), np.float32)
    return soft - _mean(soft, wide)


def _band(alpha: Uint8Image, away: int) -> np.ndarray:
    square = np.ones((2 * away + 1,) * 2, np.uint8)
    # what lies beyond the picture is no edge of it
    return (cv2.dilate(alpha, square) > 0) & (cv2.erode(alpha, square) < 255)


def _box(band: np.ndarray, around: int) -> tuple[int, int, int, int]:
    left, top, width, height = cv2.boundingRect(band.view(np.uint8))
    bottom, right = min(band.shape[0], top + height + around), min(band.shape[1], left + width + around)
    return max(0, top - around), bottom, max(0, left - around), right


def _mean(values: FloatImage, around: int) -> FloatImage:
    side = 2 * around + 1
    return np.asarray(cv2.blur(values, (side, side), borderType=cv2.BORDER_REFLECT), np.float32)


def _sum(values: FloatImage, around: int) -> FloatImage:
    """Means around each pixel, the three colours together."""
    return _mean(np.asarray(cv2.transform(values, np.ones((1, 3), np.float32)), np.float32), around)
