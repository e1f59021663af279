"""The numbers that tell how transparent a picture came out."""

from __future__ import annotations

import cv2
import numpy as np

from lib_layerdiffusion.pictures import alpha as cleaning
from lib_layerdiffusion.pictures.arithmetic import Uint8Image
from lib_layerdiffusion.pictures.shares import CLEAR, FRAME, SOLID, Shares
from lib_layerdiffusion.pictures.verdict import Numbers

GREY = 127
"""What a picture is where its transparency hides it; the released pad is 0.5 of 255, cut off."""
SIDE = 512
"""Islands, holes and edges are looked at in a picture of this side at most, which takes a quarter."""
SPECKS, HOLES = 0.005, 0.03
"""Shares of the subject below which they count, as is usual for the steps that take them away."""
BAND = (24, 230)
"""Alpha of an edge whose colours are compared with those of what is solid beside it."""
LEAST_PATCH = 0.01
"""Share of the way around a picture that counts as a place where its frame is covered."""
REACH = 9
"""How far beside, in pixels of the smaller picture."""


def measure(rgba: Uint8Image, before: Uint8Image | None = None, passes_apart: float | None = None) -> Numbers:
    """Return the numbers of a finished picture, RGBA [H, W, 4].

    `before` is what the VAE decoded, RGB of the same size, and `passes_apart` how far the passes of the
    transparency decode were from one another: the mean over alpha, 0 to 1. Both are None for a file of which
    no more is known.
    """
    alpha = np.asarray(cv2.extractChannel(rgba, 3), np.uint8)
    shares = shares_of(alpha)
    small = cleaning.clean_veil(_smaller(rgba), CLEAR)
    numbers = Numbers(
        *shares, patches=_patches(alpha), holes=_holes(small), specks=_specks(small), fringe=_fringe(small)
    )
    if before is not None:
        numbers = numbers._replace(greyness=_greyness(alpha, before))
    if passes_apart is not None:
        # passes agree on what is empty: of a small subject it would be less
        numbers = numbers._replace(passes_apart=255 * passes_apart / max(1 - shares.clear, 1 / alpha.size))
    return numbers


def shares_of(alpha: Uint8Image) -> Shares:
    """Return what `shares.shares` does, for an array [H, W]."""
    height, width = alpha.shape
    thick = max(1, round(FRAME * min(width, height)))
    inner = alpha[thick : height - thick, thick : width - thick]
    frame = max(1, alpha.size - inner.size)
    count, subject = _above(alpha, CLEAR), _above(alpha, SOLID - 1) / alpha.size
    total = cv2.sumElems(alpha)[0] - (cv2.sumElems(inner)[0] if inner.size else 0)
    return Shares(
        border=(count - _above(inner, CLEAR)) / frame,
        frame=total / frame / 255,
        subject=subject,
        see_through=count / alpha.size - subject,
        clear=1 - count / alpha.size,
    )


def _patches(alpha: Uint8Image) -> int:
    """In how many places something covers the frame, on the way around the picture."""
    height, width = alpha.shape
    thick = min(max(1, round(FRAME * min(width, height))), height, width)
    sides = (
        alpha[:thick].max(0),
        alpha[:, -thick:].max(1),
        alpha[-thick:].max(0)[::-1],
        alpha[:, :thick].max(1)[::-1],
    )
    around = np.concatenate(sides) > CLEAR
    # short ones are hair, or where a soft edge comes and goes
    least = max(1, round(LEAST_PATCH * around.size))
    opened = cv2.morphologyEx(np.tile(around, 3)[None].view(np.uint8), cv2.MORPH_OPEN, np.ones((1, least)))
    ring = opened[0, around.size : 2 * around.size]
    return int(np.count_nonzero((ring > 0) & (np.roll(ring, 1) == 0))) or int(ring.all())


def _above(plane: Uint8Image, level: int) -> int:
    if not plane.size:
        return 0
    return int(cv2.countNonZero(cv2.threshold(plane, level, 1, cv2.THRESH_BINARY)[1]))


def _smaller(rgba: Uint8Image) -> Uint8Image:
    height, width = rgba.shape[:2]
    ratio = SIDE / max(height, width)
    if ratio >= 1:
        return rgba
    # nearest: colours of what is hidden stay out, and so do half-transparent pixels that are not there
    size = max(1, round(width * ratio)), max(1, round(height * ratio))
    return np.asarray(cv2.resize(rgba, size, interpolation=cv2.INTER_NEAREST), np.uint8)


def _greyness(alpha: Uint8Image, before: Uint8Image) -> float | None:
    """Mean distance from grey where nothing is to be seen, in levels; None where everything is."""
    hidden = cv2.inRange(alpha, np.array(0), np.array(CLEAR - 1))
    if not cv2.countNonZero(hidden):
        return None
    return float(np.mean(cv2.mean(cv2.absdiff(before, np.full_like(before, GREY)), mask=hidden)[:3]))


def _holes(rgba: Uint8Image) -> float:
    """Share of the subject that is small holes."""
    alpha = rgba[..., 3]
    area = cleaning.subject_area((alpha > cleaning.UNSEEN).view(np.uint8))
    filled = cleaning.fill_holes(rgba, HOLES)
    return 0.0 if filled is rgba else float(np.count_nonzero(filled[..., 3] != alpha) / max(1.0, area))


def _specks(rgba: Uint8Image) -> float:
    """Share of the subject that is small islands beside it."""
    alpha = rgba[..., 3]
    area = cleaning.subject_area((alpha > cleaning.UNSEEN).view(np.uint8))
    left = cleaning.remove_specks(rgba, SPECKS)
    return 0.0 if left is rgba else float(np.count_nonzero(left[..., 3] != alpha) / max(1.0, area))


def _fringe(rgba: Uint8Image) -> float:
    """Mean difference of an edge's colours from those of what is solid beside it, in levels."""
    alpha = np.asarray(cv2.extractChannel(rgba, 3), np.uint8)
    solid = (alpha >= SOLID).view(np.uint8)
    near = np.asarray(cv2.blur(solid.astype(np.float32), (REACH, REACH)), np.float32)
    band = (alpha > BAND[0]) & (alpha < BAND[1]) & (near > 0)
    if not band.any():
        return 0.0
    masked = cv2.blur((rgba[..., :3] * solid[..., None]).astype(np.float32), (REACH, REACH))
    beside = masked[band] / near[band][:, None]
    return float(np.abs(rgba[band][:, :3] - beside).mean())
