"""LoRA files: low-rank changes of linear layers, in the spellings that are in circulation.

A part of a model, "blocks.0.self_attn.q_proj" say, has a down [rank, in] and an up [out, rank], and may have
an alpha; the change of its weight is strength * (alpha / rank, or 1) * up @ down. ComfyUI calls the two
`diffusion_model.PART.lora_A.weight` and `.lora_B.weight`; kohya's trainer `lora_unet_PART.lora_down.weight`
and `.lora_up.weight`, with underscores in the place of the dots.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

from torch import Tensor

from lib_layerdiffusion.errors import WrongWeights
from lib_layerdiffusion.files.layer_patch import Lora, Shape

MODEL = "diffusion_model."
ELSEWHERE = "llm_adapter"
"""A part that hosts run with the prompts, before any sampling: what changes it comes too late for a job."""

_NAME = re.compile(
    r"(?P<dotted>diffusion_model\.)?(?(dotted)|lora_unet_+)(?P<part>.+)"
    r"\.(?P<kind>lora_A\.weight|lora_B\.weight|lora_down\.weight|lora_up\.weight|alpha)"
)
_KINDS = {
    "lora_A.weight": "down",
    "lora_down.weight": "down",
    "lora_B.weight": "up",
    "lora_up.weight": "up",
    "alpha": "alpha",
}


@dataclass(frozen=True)
class Part:
    """The names of one part's tensors in the file; `alpha` is "" where there is none."""

    up: str
    down: str
    alpha: str = ""


def _parts(shapes: Mapping[str, Shape]) -> dict[str, Part]:
    """Return the parts by their name with underscores. Raises WrongWeights."""
    found: dict[str, dict[str, str]] = {}
    for name in shapes:
        matched = _NAME.fullmatch(name)
        if matched is None:
            raise WrongWeights(f'it holds a tensor "{name}"')
        part = matched["part"].replace(".", "_")
        if _KINDS[matched["kind"]] in found.setdefault(part, {}):
            raise WrongWeights(f'it holds two of "{name}"')
        found[part][_KINDS[matched["kind"]]] = name
    for part, names in found.items():
        if not {"up", "down"} <= set(names):
            raise WrongWeights(f'the tensors of "{part}" are incomplete')
        up, down = shapes[names["up"]], shapes[names["down"]]
        if len(up) != 2 or len(down) != 2 or up[1] != down[0]:
            raise WrongWeights(f'"{part}" has LoRA shapes {list(up)} and {list(down)}')
        if "alpha" in names and prod(shapes[names["alpha"]]) != 1:
            raise WrongWeights(f'"{names["alpha"]}" is not one number')
    return {part: Part(**names) for part, names in found.items()}


def grammar_problem(shapes: Mapping[str, Shape]) -> str | None:
    """Say what keeps these tensors from being a LoRA for any model; None if nothing does."""
    try:
        return None if _parts(shapes) else "it is empty"
    except WrongWeights as error:
        return str(error)


def left_out(shapes: Mapping[str, Shape]) -> list[str]:
    """Return the parts that `fit` passes over."""
    return [part for part in _parts(shapes) if part.startswith(ELSEWHERE)]


def fit(
    shapes: Mapping[str, Shape], model: Mapping[str, Shape | None], filename: str, base: str
) -> dict[str, Part]:
    """Return the parts by the name of the model's parameter that each changes.

    `shapes` are the file's, `model` the diffusion model's parameters; those whose shape is None are only
    looked up by name. Any subset of the model's layers will do. `base` names the model. Raises WrongWeights.
    """
    known = {
        name.removeprefix(MODEL).removesuffix(".weight").replace(".", "_"): name
        for name in model
        if name.startswith(MODEL) and name.endswith(".weight")
    }
    problem = grammar_problem(shapes)
    fitting = {}
    for part, names in {} if problem else _parts(shapes).items():
        if part.startswith(ELSEWHERE):
            continue
        parameter = known.get(part)
        if parameter is None:
            problem = f'the model has no part "{part}"'
            break
        expected, given = model[parameter], (shapes[names.up][0], shapes[names.down][1])
        if expected is not None and expected != given:
            problem = f'"{parameter}" is {list(expected)} and the LoRA for {list(given)}'
            break
        fitting[parameter] = names
    if not problem and not fitting:
        problem = "it changes no part of the model"
    if problem:
        raise WrongWeights(
            f"{filename} does not fit {base}: {problem}. Replace it by the released file of that name, or "
            "delete it to have it fetched again."
        )
    return fitting


def patches(tensors: Mapping[str, Tensor], parts: Mapping[str, Part]) -> dict[str, Lora]:
    """Return what `fit` found as patches by parameter, the factor alpha / rank within `up`."""
    made = {}
    for parameter, names in parts.items():
        up, down = tensors[names.up], tensors[names.down]
        if names.alpha:
            scale = float(tensors[names.alpha]) / down.shape[0]
            up = (up.float() * scale).to(up.dtype)
        made[parameter] = Lora(up, down)
    return made
