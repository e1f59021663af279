"""Colours of invisible pixels. They never show, until a picture is made smaller, filtered, or its edge moves.

Programs that resize straight alpha mix them in: a picture with black under its transparency gets a dark
fringe. Bled, they go on from what is visible beside them.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lib_layerdiffusion.pictures.arithmetic import Uint8Image, blocks

FARTHEST = 128
"""Pixels up to which the surroundings of a pixel are looked at."""


def bleed(rgba: Uint8Image) -> Uint8Image:
    """Return RGBA [H, W, 4] whose invisible pixels have the colours of the visible ones around them.

    A pixel of alpha 0 gets the mean colour, weighted by alpha, of what is visible within 1, 2, 4, 8, ...
    pixels of it, the nearest of these that there is; beyond 128 that of everything visible. Alpha and every
    visible colour stay; where nothing is visible, all stays. Twice is as once, and cutting invisible borders
    off makes no difference.
    """
    alpha = cv2.extractChannel(rgba, 3)
    left = alpha == 0
    if not left.any() or left.all():
        return rgba
    result = rgba.copy()
    beside = border(rgba)
    result.reshape(-1, 4)[beside, :3] = colours_beside(rgba, beside)
    left.reshape(-1)[beside] = False
    plane = np.empty(alpha.shape, np.uint16)
    around, colour = np.empty(alpha.shape, np.float32), np.empty(alpha.shape, np.float32)
    reach = 2
    while left.any() and reach <= FARTHEST:
        side = 2 * reach + 1
        _mean(alpha, side, around)
        for n in range(3):
            # made anew each time: all three would take more than the picture
            cv2.multiply(cv2.extractChannel(rgba, n), alpha, plane, dtype=cv2.CV_16U)
            _mean(plane, side, colour)
            for rows in blocks(rgba):
                found = left[rows] & (around[rows] > 0)
                result[rows, :, n][found] = np.rint(colour[rows][found] / around[rows][found])
        left &= around == 0
        reach *= 2
    if left.any():
        visible = cv2.sumElems(alpha)[0]
        for n in range(3):
            cv2.multiply(cv2.extractChannel(rgba, n), alpha, plane, dtype=cv2.CV_16U)
            result[..., n][left] = round(cv2.sumElems(plane)[0] / visible)
    return result


def border(rgba: Uint8Image) -> NDArray[np.intp]:
    """Return the places of invisible pixels with visible ones beside them, numbered row by row."""
    alpha = cv2.extractChannel(rgba, 3)
    touched = np.asarray(cv2.dilate(alpha, np.ones((3, 3), np.uint8)), np.uint8)
    return np.flatnonzero((alpha == 0) & (touched > 0))


def colours_beside(rgba: Uint8Image, places: NDArray[np.intp]) -> Uint8Image:
    """Return the mean colours [N, 3], weighted by alpha, of what is visible in the 3 x 3 pixels of places."""
    height, width = rgba.shape[:2]
    rows, columns = np.divmod(places, width)
    pixels = rgba.reshape(-1, 4)
    colour, total = np.zeros((len(rows), 3), np.float32), np.zeros((len(rows), 1), np.float32)
    for down in (-1, 0, 1):
        there = (rows + down >= 0) & (rows + down < height)
        for right in (-1, 0, 1):
            inside = there & (columns + right >= 0) & (columns + right < width)
            # (a place beyond the picture counts as nothing, whichever pixel stands for it)
            values = pixels.take(places + (down * width + right), axis=0, mode="clip").astype(np.float32)
            weight = values[:, 3:] * inside[:, None]
            colour += values[:, :3] * weight
            total += weight
    return np.rint(colour / total).astype(np.uint8)


def _mean(plane: NDArray[Any], side: int, result: NDArray[np.float32]) -> None:
    """Write means of squares into `result`; what lies beyond the picture counts as 0."""
    cv2.boxFilter(plane, cv2.CV_32F, (side, side), result, borderType=cv2.BORDER_CONSTANT)
