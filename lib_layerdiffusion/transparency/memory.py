"""Computing the same in several ways, from the fastest to the one that needs the least memory."""

from __future__ import annotations

import gc
import logging
import traceback
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

from lib_layerdiffusion.errors import OutOfMemory

logger = logging.getLogger("layerdiffuse")

T = TypeVar("T")

_SIGNS = (
    "out of memory",  # CUDA, ROCm, MPS, XPU
    "can't allocate memory",  # the CPU allocator on Linux and macOS
    "not enough memory",  # the CPU allocator on Windows, DirectML
    "could not allocate",
    "allocation failed",
)


def is_out_of_memory(error: BaseException) -> bool:
    """True for every backend's way to say so; most of them raise a plain RuntimeError."""
    if isinstance(error, torch.cuda.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error).lower() for sign in _SIGNS)


def first_that_fits(
    ways: Sequence[tuple[str, Callable[[], T]]],
    doing: str,
    free: Callable[[], None],
    say: Callable[[str], None],
) -> tuple[int, T]:
    """Return the index and the result of the first of the named ways that does not run out of memory.

    After each that does, `free` has the device give back what nobody uses, and `say` gets a sentence.
    Raises OutOfMemory after the last one; every other error comes through at once.
    """
    for index, (_, compute) in enumerate(ways):
        try:
            return index, compute()
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            logger.debug("out of memory while %s", doing, exc_info=error)
            # the frames that it passed hold the tensors that must go
            traceback.clear_frames(error.__traceback__)
        gc.collect()
        free()
        if index + 1 < len(ways):
            say(f"Memory ran out while {doing}; doing it {ways[index + 1][0]}, which is slower.")
    raise OutOfMemory(
        f"Memory ran out while {doing}, even {ways[-1][0]}. Make the picture smaller, or close what else "
        "needs memory, and generate again."
    )
