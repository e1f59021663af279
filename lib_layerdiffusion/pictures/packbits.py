"""PackBits, the run-length code of PSD and TIFF, for many rows at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lib_layerdiffusion.pictures.arithmetic import Uint8Image

LONGEST = 128
"""Bytes that one packet stands for, at most. Three equal bytes become a packet: for two it saves nothing."""


def pack(rows: Uint8Image) -> tuple[bytes, NDArray[np.int64]]:
    """Encode uint8 [H, W], each row on its own. Returns the code of all rows, and the bytes of each [H].

    A packet is a byte n and, for n from 0 to 127, n + 1 bytes as they are; for n from 129 to 255, one byte
    that stands 257 - n times (Apple Technical Note TN1023).
    """
    height, width = rows.shape
    if not rows.size:
        return b"", np.zeros(height, np.int64)
    values = np.ascontiguousarray(rows).reshape(-1)
    start, length, repeats = _split(*_segments(values, width))
    end = np.cumsum(np.where(repeats, 2, length + 1))
    place = np.concatenate([end[:1] * 0, end[:-1]])
    code = np.empty(int(end[-1]), np.uint8)
    # the rest of a run of 129 is a run of 1, whose packet is that of one byte as it is
    code[place] = np.where(repeats & (length > 1), 257 - length, length - 1)
    code[place[repeats] + 1] = values[start[repeats]]
    as_they_are = np.ones(code.size, np.bool_)
    as_they_are[place] = False
    as_they_are[place[repeats] + 1] = False
    code[as_they_are] = values[np.repeat(~repeats, length)]
    last = np.searchsorted(start, np.arange(1, height + 1) * width) - 1
    return code.tobytes(), np.diff(end[last], prepend=0)


def _segments(
    values: Uint8Image, width: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Cut rows, one after the other, into runs and what lies between: start, length, whether it is a run."""
    same = np.zeros(values.size, np.bool_)
    np.equal(values[1:], values[:-1], out=same[1:])
    same[::width] = False
    # the last of three equal bytes, then the two before it
    run = same.copy()
    run[1:] &= same[:-1]
    third = run.copy()
    run[:-1] |= third[1:]
    run[:-2] |= third[2:]
    new = np.ones(values.size, np.bool_)
    # a segment goes on where both bytes are of a run, the same one, or both of none
    np.not_equal(run[1:], run[:-1], out=new[1:])
    new[1:] |= run[1:] & ~same[1:]
    new[::width] = True
    start = np.flatnonzero(new)
    return start, np.diff(start, append=values.size), run[start]


def _split(
    start: NDArray[np.int64], length: NDArray[np.int64], repeats: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Cut what is longer than a packet."""
    if int(length.max()) <= LONGEST:
        return start, length, repeats
    pieces = -(-length // LONGEST)
    first = np.cumsum(pieces) - pieces
    number = np.arange(int(pieces.sum())) - np.repeat(first, pieces)
    done = number * LONGEST
    return (
        np.repeat(start, pieces) + done,
        np.minimum(np.repeat(length, pieces) - done, LONGEST),
        np.repeat(repeats, pieces),
    )
