"""A stack of layers as a PSD file: 8-bit RGB, real transparency channels, PackBits.

After Adobe's "Photoshop File Formats Specification" (November 2019). The merged picture is the composite over
white with its alpha beside it, which is what Photoshop writes and what readers take away again.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from lib_layerdiffusion.errors import BadPicture
from lib_layerdiffusion.pictures.arithmetic import Uint8Image, blocks
from lib_layerdiffusion.pictures.packbits import pack
from lib_layerdiffusion.pictures.stack import Group, Layer, Stack

LARGEST_FILE = 2**31 - 1
"""Bytes of a PSD file; larger documents need PSB."""

_ALPHA_AND_COLOURS = ((-1, 3), (0, 0), (1, 1), (2, 2))
"""What a channel is called in a layer, and where it lies in RGBA."""
_RLE = 1
_HIDDEN = 0b10
_NOT_PIXELS = 0b11000
"""The record of a group says that it has no pixels of its own."""
_END_OF_GROUP, _OPEN_GROUP = 3, 1
_END_NAME = "</Layer group>"
_LONGEST_NAME = 255


class _Record(NamedTuple):
    head: bytes
    channels: list[bytes]


def encode_psd(stack: Stack) -> bytes:
    """Return the PSD file of `stack`. Every byte of its layers is in it, hidden colours too.

    A layer's opacity is kept in steps of 1/255. Raises BadPicture where the file would be too large.
    """
    records = list(_records(stack.members))
    body = b"".join(record.head for record in records)
    pixels = b"".join(channel for record in records for channel in record.channels)
    # negative: the first channel of the merged picture beyond its colours is its transparency
    layers = struct.pack(">h", -len(records)) + body + pixels
    layers += bytes(len(layers) % 2)
    merged = _merged(stack.composite())
    parts = [
        struct.pack(">4sH6xHIIHH", b"8BPS", 1, 4, stack.height, stack.width, 8, 3),
        struct.pack(">II", 0, 0),
        # the layers' section: with the length of their list in front, and no mask for all behind
        struct.pack(">II", len(layers) + 8, len(layers)),
        layers,
        struct.pack(">I", 0),
        merged,
    ]
    size = sum(map(len, parts))
    if size > LARGEST_FILE:
        raise BadPicture(
            f"The PSD file would have {size / 1e9:.1f} GB, more than the 2 GB that PSD allows; use fewer or "
            "smaller layers, or ORA."
        )
    return b"".join(parts)


def _records(members: Sequence[Layer | Group]) -> Iterator[_Record]:
    for member in members:
        if isinstance(member, Layer):
            yield _layer(member)
            continue
        yield _divider(_END_NAME, _END_OF_GROUP, 1.0, True)
        yield from _records(member.members)
        yield _divider(member.name, _OPEN_GROUP, member.opacity, member.visible)


def _layer(layer: Layer) -> _Record:
    channels = [_channel(layer.picture[..., at]) for _, at in _ALPHA_AND_COLOURS]
    box = layer.top, layer.left, layer.top + layer.height, layer.left + layer.width
    return _Record(_head(layer.name, box, channels, layer.opacity, 0 if layer.visible else _HIDDEN), channels)


def _divider(name: str, kind: int, opacity: float, visible: bool) -> _Record:
    """Where a group ends or begins. It has the four channels of a layer, all empty."""
    channels = [struct.pack(">H", 0)] * len(_ALPHA_AND_COLOURS)
    # a group's blend mode stands in its block; normal rather than passed through: it is faded as a whole
    block = _block(b"lsct", struct.pack(">I4s4s", kind, b"8BIM", b"norm"))
    flags = _NOT_PIXELS | (0 if visible else _HIDDEN)
    return _Record(_head(name, (0, 0, 0, 0), channels, opacity, flags, block), channels)


def _head(
    name: str,
    box: tuple[int, int, int, int],
    channels: Sequence[bytes],
    opacity: float,
    flags: int,
    block: bytes = b"",
) -> bytes:
    lengths = b"".join(
        struct.pack(">hI", number, len(data))
        for (number, _), data in zip(_ALPHA_AND_COLOURS, channels, strict=True)
    )
    name = name[:_LONGEST_NAME]
    extra = struct.pack(">II", 0, 0) + _pascal(name) + _block(b"luni", _unicode(name)) + block
    return (
        struct.pack(">iiiiH", *box, len(channels))
        + lengths
        + struct.pack(">4s4sBBBxI", b"8BIM", b"norm", round(opacity * 255), 0, flags, len(extra))
        + extra
    )


def _pascal(name: str) -> bytes:
    """The old name: its length, then MacRoman, filled up to a multiple of four."""
    text = name.encode("mac_roman", errors="replace")[:_LONGEST_NAME]
    return (bytes([len(text)]) + text).ljust(-(-(len(text) + 1) // 4) * 4, b"\0")


def _unicode(name: str) -> bytes:
    """The name in any script: its length in UTF-16 units, then those."""
    # half a surrogate pair cannot be written
    text = name.encode("utf-16-be", errors="replace")
    return struct.pack(">I", len(text) // 2) + text


def _block(key: bytes, data: bytes) -> bytes:
    data = data.ljust(-(-len(data) // 4) * 4, b"\0")
    return struct.pack(">4s4sI", b"8BIM", key, len(data)) + data


def _channel(plane: Uint8Image) -> bytes:
    """One channel [H, W] of a layer: how it is coded, the bytes of each row, the rows."""
    code, lengths = pack(plane)
    return struct.pack(">H", _RLE) + lengths.astype(">u2").tobytes() + code


def _merged(composite: Uint8Image) -> bytes:
    """The merged picture: all four channels, the bytes of every row of each before all code."""
    matted = composite.copy()
    for rows in blocks(composite):
        alpha = composite[rows, :, 3:].astype(np.float32) / np.float32(255)
        over_white = composite[rows, :, :3] * alpha + np.float32(255) * (1 - alpha)
        matted[rows, :, :3] = np.rint(over_white)
    packed = [pack(matted[..., channel]) for channel in range(4)]
    lengths = b"".join(lengths.astype(">u2").tobytes() for _, lengths in packed)
    return struct.pack(">H", _RLE) + lengths + b"".join(code for code, _ in packed)
