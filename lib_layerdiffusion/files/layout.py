"""What a weight file holds, told from its header alone: names, shapes and number formats of its tensors."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import torch

from lib_layerdiffusion.errors import WeightsError, WrongWeights
from lib_layerdiffusion.files import header, layer_patch, lora
from lib_layerdiffusion.files.header import WIDTHS, Entry
from lib_layerdiffusion.files.layer_patch import Shape
from lib_layerdiffusion.methods import METHODS
from lib_layerdiffusion.models.attention_sharing import AttentionSharing
from lib_layerdiffusion.models.encoder_and_decoder import TransparencyDecoder, TransparencyEncoder
from lib_layerdiffusion.models.rgba_vae import RgbaVae
from lib_layerdiffusion.weight_files import Holds, WeightFile

REPLACE = "Replace it by the released file of that name, or delete it to have it fetched again."


def unreadable(path: Path, error: Exception) -> WeightsError:
    """Return what to say of a file that gave this error when it was read; the cause that it is, no other.

    An OSError is the system's, so the file may be good; any other error is what its content gave.
    """
    name = f"{path.name} in {path.parent}"
    if isinstance(error, FileNotFoundError):
        return WeightsError(f"{name} is no longer there. Put it back, or generate again to have it fetched.")
    if isinstance(error, PermissionError):
        return WeightsError(
            f"{name} may not be read: the system refuses it to the user that the WebUI runs as. Give that "
            "user the right to read it."
        )
    if isinstance(error, OSError):
        return WeightsError(
            f"{name} cannot be read now ({error.strerror or error}): the fault lies with the drive or the "
            "network, not with the file. See to it and generate again."
        )
    return WrongWeights(
        f"{name} cannot be read ({error}); it is damaged or not a safetensors file. "
        "Delete it to have it fetched again."
    )


def tensor_entries(path: Path) -> dict[str, Entry]:
    """Return what the file's header says; its tensors are not read. Raises WeightsError."""
    try:
        with path.open("rb") as file:
            return header.entries(file, path.stat().st_size)
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from error


def check(file: WeightFile, path: Path) -> None:
    """Raise WrongWeights unless the file at `path` has the layout of the released `file`.

    A patch is checked for its own grammar only; whether it fits depends on the checkpoint. Raises
    WeightsError where the file cannot be read.
    """
    problem = _problem(file, tensor_entries(path))
    if problem:
        raise WrongWeights(
            f"{path.name} in {path.parent} is not the {file.holds.value} that it should be: "
            f"{problem}. {REPLACE}"
        )


def _problem(file: WeightFile, entries: Mapping[str, Entry]) -> str | None:
    if not entries:
        return "it is empty"
    for name, entry in entries.items():
        if entry.format not in WIDTHS:
            return f'"{name}" is stored as {entry.format}, which is no floating point format'
    shapes = {name: entry.shape for name, entry in entries.items()}
    if file.holds is Holds.WEIGHT_PATCH:
        return layer_patch.grammar_problem(shapes)
    if file.holds is Holds.LORA:
        return lora.grammar_problem(shapes)
    try:
        _build(file, tuple(shapes.items()))
    except (RuntimeError, KeyError, IndexError, ValueError) as error:
        return reason(error)
    return None


@lru_cache(maxsize=16)
def _build(file: WeightFile, shapes: tuple[tuple[str, Shape], ...]) -> None:
    """Make the network of shapes alone, on the meta device; once for all files of the same layout."""
    with torch.device("meta"):
        state = {name: torch.empty(shape) for name, shape in shapes}
        if file.holds is Holds.TRANSPARENCY_ENCODER:
            TransparencyEncoder.from_state_dict(state)
        elif file.holds is Holds.TRANSPARENCY_DECODER:
            TransparencyDecoder.from_state_dict(state)
        elif file.holds is Holds.RGBA_VAE:
            RgbaVae.from_state_dict(state)
        else:
            method = next(method for method in METHODS if method.weights == file)
            AttentionSharing.from_state_dict(state, method.frames, bool(method.pictures))


def reason(error: Exception) -> str:
    """The sentence within what strict loading raises."""
    if isinstance(error, KeyError):
        return f'it has no tensor "{error.args[0]}"'
    return str(error).strip().splitlines()[-1].strip().rstrip(".")
