"""Weight files: find one in models/layer_model or fetch it, look into it, read it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from lib_layerdiffusion.errors import DownloadFailed, WrongWeights
from lib_layerdiffusion.methods import WeightFile

logger = logging.getLogger("layerdiffuse")

REPOSITORY = "LayerDiffusion/layerdiffusion-v1"
FOLDER = "layer_model"

T = TypeVar("T")


def locate(file: WeightFile, models_dir: Path) -> Path:
    """Return where the file belongs: `<models_dir>/layer_model/<name>.safetensors`, present or not."""
    return models_dir / FOLDER / file.filename


def ensure(file: WeightFile, models_dir: Path) -> Path:
    """Return the path of the file, downloading it first if it is not there. Raises DownloadFailed."""
    path = locate(file, models_dir)
    if path.is_file() and path.stat().st_size > 0:
        return path
    return download(file, path)


def download(file: WeightFile, path: Path) -> Path:
    """Fetch the file from the hub to `path`, with huggingface_hub's progress bar. Raises DownloadFailed."""
    size = f" ({file.size / 1e6:.0f} MB)" if file.size else ""
    logger.info("downloading %s%s to %s", file.filename, size, path.parent)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # hosts start faster without it, and most starts download nothing
        from huggingface_hub import hf_hub_download

        return Path(hf_hub_download(repo_id=REPOSITORY, filename=file.filename, local_dir=str(path.parent)))
    except Exception as error:
        cause = f"{type(error).__name__}: {error}".strip().splitlines()[0]
        raise DownloadFailed(
            f"{file.filename}{size} is not in {path.parent} and could not be downloaded from "
            f"https://huggingface.co/{REPOSITORY} ({cause}). Check the connection and generate again, "
            "or put the file there yourself."
        ) from error


def _unreadable(path: Path, error: Exception) -> WrongWeights:
    return WrongWeights(
        f"{path.name} in {path.parent} cannot be read ({error}); it is damaged or not a safetensors file. "
        "Delete it to have it fetched again."
    )


def shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Return name and shape of every tensor, reading only the file's header. Raises WrongWeights."""
    try:
        with safe_open(str(path), framework="pt") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}
    except (SafetensorError, OSError) as error:
        raise _unreadable(path, error) from error


def read(path: Path) -> dict[str, Tensor]:
    """Return the tensors of the file on the CPU, mapped from disk. Raises WrongWeights."""
    try:
        return load_file(str(path), device="cpu")
    except (SafetensorError, OSError) as error:
        raise _unreadable(path, error) from error


def build(path: Path, build_network: Callable[[Mapping[str, Tensor]], T]) -> T:
    """Return a network made of the file by `build_network`, which loads strictly. Raises WrongWeights."""
    state_dict = read(path)
    try:
        return build_network(state_dict)
    except (RuntimeError, KeyError, IndexError) as error:
        reason = str(error).strip().splitlines()[-1].strip()
        raise WrongWeights(
            f"{path.name} in {path.parent} does not hold the network that its name says ({reason}). "
            "Replace it by the released file of that name, or delete it to have it fetched again."
        ) from error


def identity(path: Path) -> str:
    """Return a name for the file's present content: a replaced file has another one."""
    stat = path.stat()
    return f"layerdiffuse:{path.name}:{stat.st_size}:{stat.st_mtime_ns}"
