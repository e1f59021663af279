"""PNG files with the standard library alone: for where neither numpy nor Pillow can be counted on."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from itertools import accumulate
from operator import add, sub
from typing import NamedTuple

SIGNATURE = b"\x89PNG\r\n\x1a\n"
CHANNELS = {0: 1, 2: 3, 4: 2, 6: 4}
"""By the file's colour type; 3 is a palette, which is not read."""
KINDS = {1: 0, 3: 2, 2: 4, 4: 6}
NAMES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
LARGEST = 1 << 28
"""Bytes of values that a file may unfold to."""

_BYTE = (255).__and__


class Raster(NamedTuple):
    """A picture: `values` are its bytes [height, width, channels] in 0 to 255, RGB before alpha."""

    width: int
    height: int
    channels: int
    values: bytes

    @property
    def mode(self) -> str:
        """What Pillow calls it: L, LA, RGB or RGBA."""
        return NAMES[self.channels]

    def plane(self, channel: int) -> bytes:
        """One channel, [height, width]."""
        return self.values[channel :: self.channels]

    def alpha(self) -> bytes:
        """The last channel of a picture that has one, and else 255 everywhere."""
        if self.channels in (2, 4):
            return self.plane(self.channels - 1)
        return b"\xff" * (self.width * self.height)


def join(width: int, height: int, *planes: bytes) -> Raster:
    """Return the picture that has these channels, [height, width] each."""
    values = bytearray(width * height * len(planes))
    for number, plane in enumerate(planes):
        values[number :: len(planes)] = plane
    return Raster(width, height, len(planes), bytes(values))


def _chunks(file: bytes) -> Iterator[tuple[bytes, bytes]]:
    position = len(SIGNATURE)
    while position + 12 <= len(file):
        (length,) = struct.unpack_from(">I", file, position)
        end = position + 8 + length
        yield file[position + 4 : position + 8], file[position + 8 : end]
        position = end + 4


def read(file: bytes) -> Raster:
    """Return the picture in a file of 8 bits a channel, not interlaced. Raises ValueError."""
    if not file.startswith(SIGNATURE):
        raise ValueError("it is no PNG file")
    header, packed = b"", []
    for kind, data in _chunks(file):
        if kind == b"IHDR":
            header = data
        elif kind == b"IDAT":
            packed.append(data)
    try:
        width, height, bits, colour, _, _, interlaced = struct.unpack(">IIBBBBB", header)
        channels = CHANNELS[colour]
        stride = width * channels
        if bits != 8 or interlaced or not 0 < stride * height < LARGEST:
            raise ValueError("it is a PNG file of a kind that is not read")
        unpack = zlib.decompressobj()
        filtered = unpack.decompress(b"".join(packed), (stride + 1) * height)
    except (struct.error, KeyError, zlib.error) as error:
        raise ValueError("it is a PNG file that is damaged, or of a kind that is not read") from error
    if len(filtered) < (stride + 1) * height:
        raise ValueError("it is a PNG file that ends too early")
    return Raster(width, height, channels, _unfiltered(filtered, stride, channels))


def _unfiltered(filtered: bytes, stride: int, channels: int) -> bytes:
    """Undo the filters of rows (PNG specification, section 9)."""
    rows = []
    above = bytes(stride)
    for start in range(0, len(filtered), stride + 1):
        kind, row = filtered[start], filtered[start + 1 : start + 1 + stride]
        if kind == 2:
            row = bytes(map(_BYTE, map(add, row, above)))
        elif kind:
            line = bytearray(stride)
            undo = {1: _sub, 3: _average, 4: _paeth}.get(kind)
            if undo is None:
                raise ValueError("it is a PNG file that is damaged")
            for channel in range(channels):
                line[channel::channels] = undo(row[channel::channels], above[channel::channels])
            row = bytes(line)
        rows.append(row)
        above = row
    return b"".join(rows)


def _sub(row: bytes, above: bytes) -> bytes:
    return bytes(map(_BYTE, accumulate(row)))


def _average(row: bytes, above: bytes) -> bytes:
    result, left = bytearray(), 0
    for value, up in zip(row, above, strict=True):
        left = (value + (left + up) // 2) & 255
        result.append(left)
    return bytes(result)


def _paeth(row: bytes, above: bytes) -> bytes:
    result, left, corner = bytearray(), 0, 0
    for value, up in zip(row, above, strict=True):
        to_left, to_up = abs(up - corner), abs(left - corner)
        to_corner = abs(left + up - 2 * corner)
        if to_left > to_up or to_left > to_corner:
            left = up if to_up <= to_corner else corner
        left = (value + left) & 255
        corner = up
        result.append(left)
    return bytes(result)


def write(picture: Raster) -> bytes:
    """Return the picture as a PNG file without any text in it."""
    stride = picture.width * picture.channels
    above, rows = bytes(stride), []
    for start in range(0, len(picture.values), stride):
        row = picture.values[start : start + stride]
        rows.append(b"\x02" + bytes(map(_BYTE, map(sub, row, above))))
        above = row
    header = struct.pack(">IIBBBBB", picture.width, picture.height, 8, KINDS[picture.channels], 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(b"".join(rows), 6)), (b"IEND", b""))
    return SIGNATURE + b"".join(_chunk(kind, data) for kind, data in parts)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
