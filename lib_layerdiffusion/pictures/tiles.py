"""Putting a picture together from tiles that overlap."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from lib_layerdiffusion.pictures.arithmetic import Uint8Image, blend

Row = tuple[int, Iterable[tuple[int, Uint8Image]]]
"""The top of a row of tiles, and each tile's left side with the tile, RGBA [h, w, 4]; from left to right."""


def combine(rows: Iterable[Row], height: int, width: int, overlap: int) -> Uint8Image:
    """Return RGBA [height, width, 4] of rows from top to bottom.

    A tile goes over from the one before it within `overlap` pixels, and covers it after that; so do rows.
    What lies outside the picture is cut off.
    """
    whole = np.zeros((height, width, 4), np.uint8)
    for n, (top, tiles) in enumerate(rows):
        strip = None
        for left, tile in tiles:
            if strip is None:
                strip = np.zeros((len(tile), width, 4), np.uint8)
                _place(strip.swapaxes(0, 1), tile.swapaxes(0, 1), left, 0)
            else:
                _place(strip.swapaxes(0, 1), tile.swapaxes(0, 1), left, overlap)
        if strip is not None:
            _place(whole, strip, top, overlap if n else 0)
    return whole


def _place(canvas: Uint8Image, part: Uint8Image, start: int, overlap: int) -> None:
    """Put `part` over `canvas` from line `start` on, gradually within the first `overlap` lines."""
    part = part[max(0, -start) : len(canvas) - start]
    target = canvas[max(0, start) : max(0, start) + len(part)]
    ramp = np.full(len(part), 255, np.uint8)
    within = min(overlap, len(part))
    ramp[:within] = np.arange(within) * 255 / max(1, overlap)
    mask = np.repeat(ramp[:, None], part.shape[1], axis=1)
    target[:] = blend(np.ascontiguousarray(part), np.ascontiguousarray(target), mask)
