"""A contact sheet: numbered pictures over a checkerboard, in rows."""

from __future__ import annotations

from collections.abc import Sequence

from lib_layerdiffusion.pictures.png import Raster

TILE, GAP, SQUARE, COLUMNS = 192, 12, 12, 5
LIGHT, DARK, PAPER, INK = 235, 195, 255, 20
FONT = {
    "0": "111101101101111",
    "1": "010110010010111",
    "2": "111001111100111",
    "3": "111001111001111",
    "4": "101101111001001",
    "5": "111100111001111",
    "6": "111100111101111",
    "7": "111001001010010",
    "8": "111101111101111",
    "9": "111101111001111",
}
"""Digits of 3x5 dots."""
DOT = 3
LABEL = 5 * DOT + GAP


def sheet(pictures: Sequence[Raster]) -> Raster:
    """Return the sheet, RGB, with as many rows as are needed; at least one picture."""
    columns = min(COLUMNS, len(pictures))
    rows = -(-len(pictures) // columns)
    width, height = columns * (TILE + GAP) + GAP, rows * (TILE + LABEL + GAP) + GAP
    canvas = bytearray([PAPER]) * (width * height * 3)
    for number, picture in enumerate(pictures):
        left = GAP + number % columns * (TILE + GAP)
        top = GAP + number // columns * (TILE + LABEL + GAP)
        _write(canvas, width, left, top, str(number + 1))
        for row, line in enumerate(_tile(picture)):
            start = ((top + LABEL + row) * width + left) * 3
            canvas[start : start + len(line)] = line
    return Raster(width, height, 3, bytes(canvas))


def _tile(picture: Raster) -> list[bytes]:
    """Rows of RGB, no larger than a tile: every so many pixels one."""
    scale = max(picture.width, picture.height) / TILE
    width, height = max(1, int(picture.width / scale)), max(1, int(picture.height / scale))
    lines = []
    for row in range(height):
        line = bytearray()
        above = min(picture.height - 1, int((row + 0.5) * scale)) * picture.width
        for column in range(width):
            at = (above + min(picture.width - 1, int((column + 0.5) * scale))) * picture.channels
            line += _over_squares(picture, at, LIGHT if (row // SQUARE + column // SQUARE) % 2 else DARK)
        lines.append(bytes(line))
    return lines


def _over_squares(picture: Raster, at: int, below: int) -> bytes:
    values = picture.values[at : at + picture.channels]
    alpha = values[-1] if picture.channels in (2, 4) else 255
    colours = values[:3] if picture.channels > 2 else values[:1] * 3
    return bytes((value * alpha + below * (255 - alpha)) // 255 for value in colours)


def _write(canvas: bytearray, width: int, left: int, top: int, text: str) -> None:
    for place, character in enumerate(text):
        for dot, on in enumerate(FONT[character]):
            if on == "1":
                x, y = left + (place * 4 + dot % 3) * DOT, top + dot // 3 * DOT
                for row in range(y, y + DOT):
                    canvas[(row * width + x) * 3 : (row * width + x + DOT) * 3] = bytes([INK]) * (DOT * 3)
