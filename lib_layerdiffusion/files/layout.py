"""What a weight file holds, told from its header alone: names, shapes and number formats of its tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from lib_layerdiffusion.errors import WrongWeights
from lib_layerdiffusion.files import layer_patch
from lib_layerdiffusion.methods import METHODS, Holds, WeightFile
from lib_layerdiffusion.models.attention_sharing import AttentionSharing
from lib_layerdiffusion.models.encoder_and_decoder import TransparencyDecoder, TransparencyEncoder

Shape = tuple[int, ...]

NUMBER_FORMATS = frozenset({"F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2"})
"""safetensors' names of the formats that a layer file may be converted to."""

REPLACE = "Replace it by the released file of that name, or delete it to have it fetched again."


@dataclass(frozen=True)
class Header:
    """Shape and number format of every tensor, by name."""

    shapes: Mapping[str, Shape]
    formats: Mapping[str, str]


def unreadable(path: Path, error: Exception) -> WrongWeights:
    return WrongWeights(
        f"{path.name} in {path.parent} cannot be read ({error}); it is damaged or not a safetensors file. "
        "Delete it to have it fetched again."
    )


def read_header(path: Path) -> Header:
    """Return what the file's header says; its tensors are not read. Raises WrongWeights."""
    try:
        with safe_open(str(path), framework="pt") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}
            return Header(
                {name: tuple(part.get_shape()) for name, part in slices.items()},
                {name: part.get_dtype() for name, part in slices.items()},
            )
    except (SafetensorError, OSError) as error:
        raise unreadable(path, error) from error


def check(file: WeightFile, path: Path) -> Header:
    """Raise WrongWeights unless the file at `path` has the layout of the released `file`.

    A patch is checked for its own grammar only; whether it fits depends on the checkpoint.
    """
    header = read_header(path)
    problem = _problem(file, header)
    if problem:
        raise WrongWeights(
            f"{path.name} in {path.parent} is not the {file.holds.value} that it should be: "
            f"{problem}. {REPLACE}"
        )
    return header


def _problem(file: WeightFile, header: Header) -> str | None:
    if not header.shapes:
        return "it is empty"
    for name, number_format in header.formats.items():
        if number_format not in NUMBER_FORMATS:
            return f'"{name}" is stored as {number_format}, which is no floating point format'
    if file.holds is Holds.WEIGHT_PATCH:
        return layer_patch.grammar_problem(header.shapes)
    try:
        with torch.device("meta"):
            state = {name: torch.empty(shape) for name, shape in header.shapes.items()}
        _build(file, state)
    except (RuntimeError, KeyError, IndexError, ValueError) as error:
        return reason(error)
    return None


def _build(file: WeightFile, state: Mapping[str, Tensor]) -> None:
    """Make the network of shapes alone, on the meta device."""
    with torch.device("meta"):
        if file.holds is Holds.TRANSPARENCY_ENCODER:
            TransparencyEncoder.from_state_dict(state)
        elif file.holds is Holds.TRANSPARENCY_DECODER:
            TransparencyDecoder.from_state_dict(state)
        else:
            method = next(method for method in METHODS if method.weights == file)
            AttentionSharing.from_state_dict(state, method.frames, bool(method.pictures))


def reason(error: Exception) -> str:
    """The sentence within what strict loading raises."""
    if isinstance(error, KeyError):
        return f'it has no tensor "{error.args[0]}"'
    return str(error).strip().splitlines()[-1].strip().rstrip(".")
