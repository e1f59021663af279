"""The header of a .safetensors file, read without mapping the file.

What is mapped ends the process when somebody cuts the file off, or when the drive it lies on goes away. What
is read gives an error then.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from math import prod
from typing import Any, BinaryIO

LARGEST = 100_000_000
"""Bytes of the longest header that safetensors writes."""

WIDTHS = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1}
"""Bytes of a number, by safetensors' name of the floating point format."""

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Entry:
    """One tensor: its number format, its shape, and where in the file its bytes begin and end."""

    format: str
    shape: Shape
    start: int
    end: int


def json_header(file: BinaryIO) -> tuple[dict[str, Any], int]:
    """Return what the header of a file says, and where it ends. Raises ValueError and OSError."""
    length_field = file.read(8)
    if len(length_field) < 8:
        raise ValueError("it is shorter than a header")
    (length,) = struct.unpack("<Q", length_field)
    if length > LARGEST:
        raise ValueError("its header is longer than any")
    text = file.read(length)
    if len(text) < length:
        raise ValueError("it ends within its header")
    try:
        header = json.loads(text)
    except RecursionError:
        raise ValueError("its header is nested too deeply") from None
    except ValueError:
        raise ValueError("its header is no JSON") from None
    if not isinstance(header, dict):
        raise ValueError("its header is no list of tensors")
    return header, 8 + length


def entries(file: BinaryIO, size: int) -> dict[str, Entry]:
    """Return the tensors of a file of `size` bytes, by name. Raises ValueError and OSError.

    Their bytes fill the file from the header's end to its own, without gaps, as safetensors demands.
    """
    header, begin = json_header(file)
    header.pop("__metadata__", None)
    entries = {name: _entry(name, fields, begin) for name, fields in header.items()}
    end = begin
    for entry in sorted(entries.values(), key=lambda entry: (entry.start, entry.end)):
        if entry.start != end:
            raise ValueError("its tensors lie apart or over each other")
        end = entry.end
    if end != size:
        raise ValueError(f"it has {size} bytes instead of {end}")
    return entries


def _entry(name: str, fields: Any, begin: int) -> Entry:
    try:
        number_format, shape, (start, end) = fields["dtype"], fields["shape"], fields["data_offsets"]
        numbers = [*shape, start, end]
    except (TypeError, KeyError, ValueError):
        raise ValueError(f'its header does not describe "{name}"') from None
    if not isinstance(number_format, str) or any(type(n) is not int or n < 0 for n in numbers):
        raise ValueError(f'its header does not describe "{name}"')
    width = WIDTHS.get(number_format)
    if start > end or (width is not None and end - start != width * prod(shape)):
        raise ValueError(f'"{name}" has another number of bytes than its shape')
    return Entry(number_format, tuple(shape), begin + start, begin + end)
