"""Weight files: find one in models/layer_model or have it fetched, make sure of it, read it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from safetensors import SafetensorError, safe_open
from torch import Tensor

from lib_layerdiffusion import download, weight_layout
from lib_layerdiffusion.download import HUB, Source
from lib_layerdiffusion.errors import WeightsError, WrongWeights
from lib_layerdiffusion.methods import FOLDER as FOLDER
from lib_layerdiffusion.methods import WeightFile
from lib_layerdiffusion.progress import NobodyWatches, Watch
from lib_layerdiffusion.weight_layout import REPLACE, unreadable
from lib_layerdiffusion.weight_records import Records, inspect

T = TypeVar("T")


class WeightStore:
    """The folder with the weight files, where missing ones come from, and who watches while they come."""

    def __init__(self, folder: Path, source: Source = HUB, watch: Watch | None = None) -> None:
        self.folder = folder
        self.source = source
        self.watch = watch or NobodyWatches()
        self.records = Records(folder)
        self._good: dict[WeightFile, str] = {}

    def path(self, file: WeightFile) -> Path:
        """Return where the file belongs, present or not. It is always directly inside the folder."""
        return self.folder / file.filename

    def ensure(self, file: WeightFile) -> Path:
        """Return the path of a file that holds what its name says, fetching it first if it is not there.

        What is there is never overwritten or deleted. Raises WeightsError and Interrupted.
        """
        path = self.path(file)
        if not self.has(file):
            download.fetch(file, path, self.source, self.watch)
        self.verify(file)
        return path

    def has(self, file: WeightFile) -> bool:
        """True when something with content lies in the file's place. Raises WeightsError if nothing can."""
        path = self.path(file)
        if path.is_symlink() and not path.exists():
            raise WeightsError(
                f"{path} is a link to {path.readlink()}, which is not there. Bring that file back, or delete "
                "the link to have the file fetched again."
            )
        if path.is_dir():
            raise WeightsError(f"{path} is a folder; remove it, or put the file of that name there instead.")
        return path.is_file() and path.stat().st_size > 0

    def verify(self, file: WeightFile) -> None:
        """Make sure of a file that is there, reading it whole only if it is new or changed.

        Raises WrongWeights and Interrupted.
        """
        path = self.path(file)
        name = identity(path)
        if self._good.get(file) == name:
            return
        weight_layout.check(file, path)
        problem = inspect(file, path, self.records, self.watch).problem
        if problem:
            raise WrongWeights(f"{path.name} in {path.parent} is damaged: {problem}. {REPLACE}")
        self._good[file] = name


def read(path: Path) -> dict[str, Tensor]:
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


def build(path: Path, build_network: Callable[[Mapping[str, Tensor]], T]) -> T:
    """Return a network made of the file by `build_network`, which loads strictly. Raises WrongWeights."""
    state_dict = read(path)
    try:
        return build_network(state_dict)
    except (RuntimeError, KeyError, IndexError, ValueError) as error:
        raise WrongWeights(
            f"{path.name} in {path.parent} does not hold the network that its name says "
            f"({weight_layout.reason(error)}). {REPLACE}"
        ) from error


def identity(path: Path) -> str:
    """Return a name for the file's present content: a replaced file has another one."""
    stat = path.stat()
    return f"layerdiffuse:{path.name}:{stat.st_size}:{stat.st_mtime_ns}"
