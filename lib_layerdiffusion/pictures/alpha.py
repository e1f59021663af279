"""Cleaning and moving the transparency of a finished picture; each function from RGBA [H, W, 4] to RGBA.

Colours stay, but for pixels that were invisible or part of a hole and show now: they get those around them.
A picture on which there is nothing to do comes back as it is.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from lib_layerdiffusion.pictures.arithmetic import Uint8Image, blocks, pad_colour, to_uint8
from lib_layerdiffusion.pictures.bleed import bleed

UNSEEN = 3
"""Alpha that nobody sees, and that connects nothing."""
CLEAR, OPAQUE = 128, 240
"""Alpha below which a hole is one, and from which on its surroundings are solid."""
HOLLOW = 0.25
"""Least share of a hole, soft rim included, that is clear."""
SOLID = 0.85
"""Least share of opaque pixels around a hole, as far as it is wide, that makes it one in something solid."""
OTHERS = 0.06
"""Share of other holes within twice that, beyond which all of them are a pattern."""


def clean_veil(rgba: Uint8Image, level: int) -> Uint8Image:
    """Set alpha of 1 to `level` to 0, `level` from 0, nothing, to 254. Everything above stays as it is."""
    table = np.arange(256, dtype=np.uint8)
    table[: level + 1] = 0
    return _with_alpha(rgba, np.asarray(cv2.LUT(_alpha(rgba), table), np.uint8))


def curve(rgba: Uint8Image, black: int, white: int) -> Uint8Image:
    """Stretch alpha: `black` and what is below becomes 0, `white` and above 255, in proportion between.

    0 <= black < white <= 255; 0 and 255 are nothing. What is above `black` stays above 0.
    """
    levels = np.arange(256, dtype=np.float32)
    table = np.rint((levels - black) * (255 / (white - black))).clip(0, 255)
    table[black + 1 :] = np.maximum(table[black + 1 :], 1)
    return _with_alpha(rgba, np.asarray(cv2.LUT(_alpha(rgba), table.astype(np.uint8)), np.uint8))


def remove_specks(rgba: Uint8Image, share: float) -> Uint8Image:
    """Make islands invisible that are smaller than a share, 0 to 1, of the largest with all its holes.

    Pixels with an alpha above 3 are connected by sides and corners: nothing that touches the largest goes,
    however thin. Faint pixels around an island go with it, unless they lead on to something that stays.
    """
    alpha = _alpha(rgba)
    seen = (alpha > UNSEEN).view(np.uint8)
    limit = share * subject_area(seen)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(seen, connectivity=8, ltype=cv2.CV_32S)
    if limit <= 0 or count <= 2:
        return rgba
    stays = stats[:, cv2.CC_STAT_AREA] >= limit
    stays[1 + np.argmax(stats[1:, cv2.CC_STAT_AREA])] = True
    stays[0] = True
    if stays.all():
        return rgba
    there = seen > 0
    going = ~stays[labels]
    # the labels alone take as much as the picture
    del labels
    _, wide = cv2.connectedComponents((alpha > 0).view(np.uint8), connectivity=8)
    lost = np.zeros(int(wide.max()) + 1, bool)
    for rows in blocks(alpha):
        lost[wide[rows][going[rows]]] = True
    for rows in blocks(alpha):
        lost[wide[rows][there[rows] & ~going[rows]]] = False
    changed = alpha.copy()
    changed[going | lost[wide]] = 0
    return _with_alpha(rgba, changed)


def fill_holes(rgba: Uint8Image, share: float) -> Uint8Image:
    """Make holes opaque that are smaller than a share, 0 to 1, of the largest island with all its holes.

    A hole is enclosed, a quarter of it or more below an alpha of 128, and lies in something solid: as far
    around it as it is wide, 85% is opaque, and not much is other holes. So what is inside a ring, a handle or
    a lattice stays, and so does glass. Filled pixels get the colours around them.
    """
    alpha = _alpha(rgba)
    limit = share * subject_area((alpha > UNSEEN).view(np.uint8))
    result = rgba
    # what is filled makes the surroundings of others solid
    while limit > 0 and (holes := _holes(_alpha(result), limit)) is not None:
        if result is rgba:
            result = rgba.copy()
        labels, numbers, stats = holes
        for number in numbers:
            left, top, width, height = stats[number, :4]
            box = slice(max(0, top - 2), top + height + 2), slice(max(0, left - 2), left + width + 2)
            hole = labels[box] == number
            # of a soft rim, what counts as opaque
            hole = (cv2.dilate(hole.view(np.uint8), np.ones((3, 3), np.uint8)) > 0) & (
                result[box][..., 3] < 255
            )
            part = result[box].copy()
            part[hole, 3] = 0
            part[hole, :3] = to_uint8(pad_colour(part))[hole]
            part[hole, 3] = 255
            result[box] = part
    return result


def subject_area(seen: Uint8Image) -> float:
    """Return the pixels of the largest island in a mask [H, W], those of all its holes included.

    So filling a hole, or cutting off what is empty, does not change it.
    """
    contours, _ = cv2.findContours(seen, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    # Pick's theorem: a contour runs through the middle of its pixels
    return max((cv2.contourArea(one) + len(one) / 2 + 1 for one in contours), default=0.0)


def choke(rgba: Uint8Image, distance: float) -> Uint8Image:
    """Move the edge inwards by a distance in pixels, -20 to 20; outwards below 0. Tenths count."""
    alpha = _alpha(rgba)
    move = cv2.erode if distance > 0 else cv2.dilate
    whole, rest = divmod(abs(distance), 1)
    nearer = move(alpha, _disc(int(whole))) if whole else alpha
    if rest:
        farther = move(alpha, _disc(int(whole) + 1))
        nearer = cv2.addWeighted(nearer, 1 - rest, farther, rest, 0)
    return _with_alpha(rgba, np.asarray(nearer, np.uint8))


def feather(rgba: Uint8Image, width: float) -> Uint8Image:
    """Soften the edge over about a width in pixels, 0 to 100: a Gaussian of half of it. Tenths count."""
    if width <= 0:
        return rgba
    blurred = cv2.GaussianBlur(_alpha(rgba), (0, 0), width / 2, borderType=cv2.BORDER_REPLICATE)
    return _with_alpha(rgba, np.asarray(blurred, np.uint8))


def _alpha(rgba: Uint8Image) -> Uint8Image:
    return np.asarray(cv2.extractChannel(rgba, 3), np.uint8)


def _with_alpha(rgba: Uint8Image, alpha: Uint8Image) -> Uint8Image:
    before = _alpha(rgba)
    if np.array_equal(before, alpha):
        return rgba
    appeared = (before == 0) & (alpha > 0)
    result = rgba.copy()
    if appeared.any():
        np.copyto(result, bleed(rgba), where=appeared[..., None])
    result[..., 3] = alpha
    return result


def _disc(radius: int) -> Uint8Image:
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1,) * 2), np.uint8)


def _holes(
    alpha: Uint8Image, limit: float
) -> tuple[NDArray[np.int32], NDArray[np.intp], NDArray[np.int32]] | None:
    """Return labels [H, W], which of them are holes to fill, and their boxes; None where there are none."""
    height, width = alpha.shape
    open_ = (alpha < OPAQUE).view(np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(open_, connectivity=4, ltype=cv2.CV_32S)
    left, top, wide, high, area = stats.T
    enclosed = (left > 0) & (top > 0) & (left + wide < width) & (top + high < height)
    enclosed[0] = False
    clear = np.zeros(count, np.intp)
    for rows in blocks(alpha):
        clear += np.bincount(labels[rows][alpha[rows] < CLEAR], minlength=count)
    likely = enclosed & (area < limit) & (clear >= HOLLOW * area)
    if not likely.any():
        return None
    numbers = np.flatnonzero(likely)
    reach = np.ceil(np.sqrt(area[numbers] * (4 / math.pi))).astype(int)

    def within(mask: Uint8Image, around: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Pixels of the mask in boxes around the holes, and what the boxes have besides the holes."""
        first_row, first_column = np.maximum(0, top[numbers] - around), np.maximum(0, left[numbers] - around)
        last_row = np.minimum(height, top[numbers] + high[numbers] + around)
        last_column = np.minimum(width, left[numbers] + wide[numbers] + around)
        # holes are few: a table of sums would take as much as the picture
        boxes = zip(first_row, last_row, first_column, last_column, strict=True)
        total = np.array([cv2.countNonZero(mask[up:down, begin:end]) for up, down, begin, end in boxes])
        return total, (last_row - first_row) * (last_column - first_column) - area[numbers]

    opaque, size = within((open_ == 0).view(np.uint8), reach)
    others, far = within(enclosed[labels].view(np.uint8), 2 * reach)
    chosen = numbers[(opaque >= SOLID * size) & (others - area[numbers] <= OTHERS * far)]
    return (np.asarray(labels), chosen, np.asarray(stats)) if len(chosen) else None
