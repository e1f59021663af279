"""The tensors of a weight file, and the network that they make."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from safetensors import SafetensorError, safe_open
from torch import Tensor

from lib_layerdiffusion.errors import WrongWeights
from lib_layerdiffusion.files.layout import REPLACE, reason, unreadable

T = TypeVar("T")


def state_dict(path: Path) -> dict[str, Tensor]:
    """Return the tensors of the file on the CPU, mapped from disk. Raises WrongWeights.

    Eight-bit floats, which hosts cannot compute with, come as float16.
    """
    try:
        with safe_open(str(path), framework="pt", device="cpu") as file:
            return {name: _computable(file.get_tensor(name)) for name in file.keys()}
    except (SafetensorError, OSError) as error:
        raise unreadable(path, error) from error


def _computable(tensor: Tensor) -> Tensor:
    return tensor.half() if tensor.dtype.itemsize == 1 else tensor


def network(path: Path, build_network: Callable[[Mapping[str, Tensor]], T]) -> T:
    """Return a network made of the file by `build_network`, which loads strictly. Raises WrongWeights."""
    state = state_dict(path)
    try:
        return build_network(state)
    except (RuntimeError, KeyError, IndexError, ValueError) as error:
        raise WrongWeights(
            f"{path.name} in {path.parent} does not hold the network that its name says "
            f"({reason(error)}). {REPLACE}"
        ) from error


def identity(path: Path) -> str:
    """Return a name for the file's present content: a replaced file has another one."""
    stat = path.stat()
    return f"layerdiffuse:{path.name}:{stat.st_size}:{stat.st_mtime_ns}"
