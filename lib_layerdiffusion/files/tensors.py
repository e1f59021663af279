"""The tensors of a weight file, and the network that they make."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from lib_layerdiffusion.errors import WeightsError, WrongWeights
from lib_layerdiffusion.files.header import Entry
from lib_layerdiffusion.files.layout import REPLACE, reason, tensor_entries, unreadable

T = TypeVar("T")

CPU = torch.device("cpu")

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
}


class TensorFile:
    """A weight file as it was at one moment, whose tensors are read when they are used.

    Nothing of it is mapped into memory, and it is open only while a tensor is read. So it may be replaced,
    cut off or taken away at any time: what is read afterwards is of the file as it was, or an error, told by
    the file's size and time of change. The process goes on in every case.
    """

    def __init__(self, path: Path) -> None:
        """Read the header. Raises WeightsError."""
        self.path = path
        self.identity = identity(path)
        self.entries = tensor_entries(path)
        self._problem: WeightsError | None = None

    @property
    def size(self) -> int:
        """Bytes of all tensors."""
        return sum(entry.end - entry.start for entry in self.entries.values())

    def tensor(self, name: str) -> Tensor:
        """Return a tensor, on the CPU, in memory of its own. Raises WeightsError.

        Eight-bit floats, which hosts cannot compute with, come as float16.
        """
        return self._read([name])[name]

    def tensors(self) -> dict[str, Tensor]:
        """Return all tensors by name, as `tensor` does. Raises WeightsError."""
        return self._read(self.entries)

    def _read(self, names: Iterable[str]) -> dict[str, Tensor]:
        found = {}
        try:
            with self.path.open("rb", buffering=0) as file:
                self._check(file.fileno())
                for name in names:
                    entry = self.entries[name]
                    content = torch.empty(entry.end - entry.start, dtype=torch.uint8)
                    file.seek(entry.start)
                    # one call of the system reads two gigabytes at most
                    unread = content.numpy().data
                    while unread and (count := file.readinto(unread)):
                        unread = unread[count:]
                    if unread:
                        raise self._changed()
                    found[name] = content.view(DTYPES[entry.format]).view(entry.shape).to(_dtype(entry))
                self._check(file.fileno())
        except OSError as error:
            raise unreadable(self.path, error) from error
        return found

    def stored(self) -> dict[str, Tensor]:
        """Return a stand-in for each tensor that takes no memory: every operation on it reads it anew.

        It is for hosts, which merge patches long after they were given them, and whose weights would be left
        half merged by an error. So a stand-in that cannot be read counts as zeros, and `check` says so.
        """
        return {name: StoredTensor(self, name) for name in self.entries}

    def check(self) -> None:
        """Raise the WeightsError that a stand-in met, if any: what they were merged into is wrong then."""
        if self._problem is not None:
            raise self._problem

    @property
    def failed(self) -> bool:
        """True from the moment that `check` raises."""
        return self._problem is not None

    def tensor_or_zeros(self, name: str) -> Tensor:
        """Return a tensor for one of the stand-ins. Every further one counts as zeros after a failure."""
        if self._problem is None:
            try:
                return self.tensor(name)
            except WeightsError as error:
                self._problem = error
        entry = self.entries[name]
        return torch.zeros(entry.shape, dtype=_dtype(entry))

    def _check(self, descriptor: int) -> None:
        if _name(self.path, os.fstat(descriptor)) != self.identity:
            raise self._changed()

    def _changed(self) -> WeightsError:
        return WeightsError(
            f"{self.path.name} in {self.path.parent} was changed while it was in use. Generate again when "
            "whatever writes it is done."
        )


class StoredTensor(Tensor):
    """What `TensorFile.stored` gives: on the CPU, of the shape and dtype that `tensor` would give."""

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    _file: TensorFile
    _name: str

    @staticmethod
    def __new__(cls, file: TensorFile, name: str) -> StoredTensor:
        entry = file.entries[name]
        made: StoredTensor = Tensor._make_wrapper_subclass(cls, entry.shape, dtype=_dtype(entry), device=CPU)
        made._file, made._name = file, name
        return made

    def __repr__(self) -> str:  # type: ignore[override]
        return f"StoredTensor({self._name!r}, {list(self.shape)}, {self.dtype})"

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        # hosts ask for an empty tensor of this shape first, and then copy into it
        shape_alone = func is torch.ops.aten.empty_like.default

        def content(stored: StoredTensor) -> Tensor:
            if shape_alone:
                return torch.empty(stored.shape, dtype=stored.dtype)
            return stored._file.tensor_or_zeros(stored._name)

        # a tensor made in inference mode could not stand in for one that may have been made outside of it
        with torch.inference_mode(False):
            args, kwargs = tree_map_only(StoredTensor, content, (args, kwargs or {}))
        return func(*args, **kwargs)


def _dtype(entry: Entry) -> torch.dtype:
    dtype = DTYPES[entry.format]
    return torch.float16 if dtype.itemsize == 1 else dtype


def state_dict(path: Path) -> dict[str, Tensor]:
    """Return the tensors of the file on the CPU, read into memory. Raises WeightsError."""
    return TensorFile(path).tensors()


def network(path: Path, build_network: Callable[[Mapping[str, Tensor]], T]) -> T:
    """Return a network made of the file by `build_network`, which loads strictly. Raises WeightsError.

    What else goes wrong, above all too little memory, comes through as it is.
    """
    state = state_dict(path)
    try:
        return build_network(state)
    except (RuntimeError, KeyError, IndexError, ValueError) as error:
        if isinstance(error, RuntimeError) and "state_dict" not in str(error):
            raise
        raise WrongWeights(
            f"{path.name} in {path.parent} does not hold the network that its name says "
            f"({reason(error)}). {REPLACE}"
        ) from error


def identity(path: Path) -> str:
    """Return a name for the file's present content: a replaced file has another one. Raises WeightsError."""
    try:
        return _name(path, path.stat())
    except OSError as error:
        raise unreadable(path, error) from error


def _name(path: Path, stat: os.stat_result) -> str:
    return f"layerdiffuse:{path.name}:{stat.st_size}:{stat.st_mtime_ns}"
