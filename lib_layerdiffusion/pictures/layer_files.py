"""Every kind of layered file."""

from __future__ import annotations

from collections.abc import Callable

from lib_layerdiffusion.pictures.ora import encode_ora
from lib_layerdiffusion.pictures.psd import encode_psd
from lib_layerdiffusion.pictures.stack import Stack

WRITERS: dict[str, Callable[[Stack], bytes]] = {"psd": encode_psd, "ora": encode_ora}
"""What writes a stack, by the ending of the file."""


def write_layer_file(stack: Stack, kind: str) -> bytes:
    """Return the file of a stack. Raises BadPicture where that kind cannot hold it."""
    return WRITERS[kind](stack)
