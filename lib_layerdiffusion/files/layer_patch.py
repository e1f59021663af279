"""SDXL layer files: what they change, parameter by parameter.

A tensor is called `<parameter>::<kind>::<index>`. Kind `lora`: index 0 is up [out, rank], 1 is down
[rank, in]. Kind `diff`: index 0 is an offset of the parameter's shape; the first convolution's may be wider.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod

from torch import Tensor

from lib_layerdiffusion.errors import WrongWeights

FIRST_CONVOLUTION = "diffusion_model.input_blocks.0.0.weight"
LATENT_CHANNELS = 4

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Lora:
    """weight += strength * up @ down, up [out, rank], down [rank, in, ...] flattened from axis 1."""

    up: Tensor
    down: Tensor


@dataclass(frozen=True)
class Offset:
    """weight += strength * delta; where 4-D shapes differ, both are placed at the origin of zeros."""

    delta: Tensor


Patch = Lora | Offset


_KINDS = {("lora", "0"), ("lora", "1"), ("diff", "0")}

Parts = Mapping[str, Mapping[tuple[str, int], Shape]]
"""Shapes by parameter, then by kind and index."""


def _split(name: str) -> tuple[str, str, int]:
    parameter, _, rest = name.partition("::")
    kind, _, index = rest.partition("::")
    if (kind, index) not in _KINDS:
        raise WrongWeights(f'it holds a tensor "{name}"')
    return parameter, kind, int(index)


def _parts(shapes: Mapping[str, Shape]) -> Parts:
    parts: dict[str, dict[tuple[str, int], Shape]] = {}
    for name, shape in shapes.items():
        parameter, kind, index = _split(name)
        parts.setdefault(parameter, {})[kind, index] = shape
    return parts


def grammar_problem(shapes: Mapping[str, Shape]) -> str | None:
    """Say what keeps these tensors from being a layer file for any model; None if nothing does."""
    if not shapes:
        return "it is empty"
    try:
        parts = _parts(shapes)
    except WrongWeights as error:
        return str(error)
    for parameter, tensors in parts.items():
        if set(tensors) not in ({("diff", 0)}, {("lora", 0), ("lora", 1)}):
            return f'the tensors of "{parameter}" are incomplete or of two kinds'
    return None


def check(
    shapes: Mapping[str, Shape],
    model: Mapping[str, Shape | None],
    conditions: int,
    filename: str,
    base: str,
) -> None:
    """Raise WrongWeights unless every tensor of the file fits a parameter of the model.

    `shapes` are the file's, `model` the UNet's parameters (both by name), `conditions` is how many
    condition latents the first convolution must take beside the noisy one, `base` names the model.
    Parameters whose shape is None are only looked up by name.
    """
    problem = grammar_problem(shapes) or _problem(_parts(shapes), model, conditions)
    if problem:
        raise WrongWeights(
            f"{filename} does not fit {base}: {problem}. Replace it by the released file of that name, or "
            "delete it to have it fetched again."
        )


def _problem(
    parts: Parts,
    model: Mapping[str, Shape | None],
    conditions: int,
) -> str | None:
    wide = LATENT_CHANNELS * (1 + conditions)
    if conditions and (FIRST_CONVOLUTION not in parts):
        return f"it does not widen the first convolution to {wide} channels"
    for parameter, tensors in parts.items():
        if parameter not in model:
            return f'the model has no parameter "{parameter}"'
        expected = model[parameter]
        if expected is None:
            continue
        if set(tensors) == {("diff", 0)}:
            if conditions and parameter == FIRST_CONVOLUTION:
                expected = (expected[0], wide, *expected[2:])
            elif parameter == FIRST_CONVOLUTION:
                # an inpainting checkpoint's first convolution is wider than the offset
                expected = (expected[0], min(expected[1], tensors["diff", 0][1]), *expected[2:])
            if tensors["diff", 0] != expected:
                return f'"{parameter}" has shape {list(tensors["diff", 0])} instead of {list(expected)}'
        else:
            up, down = tensors["lora", 0], tensors["lora", 1]
            if (
                len(up) != 2
                or up[0] != expected[0]
                or up[1:] != down[:1]
                or prod(down[1:]) != prod(expected[1:])
            ):
                return f'"{parameter}" has LoRA shapes {list(up)} and {list(down)} for {list(expected)}'
    return None


def parse(tensors: Mapping[str, Tensor]) -> dict[str, Patch]:
    """Group a layer file's tensors into one patch per parameter. Raises WrongWeights."""
    found: dict[str, dict[int, Tensor]] = {}
    kinds: dict[str, str] = {}
    for name, tensor in tensors.items():
        parameter, kind, index = _split(name)
        found.setdefault(parameter, {})[index] = tensor
        kinds[parameter] = kind
    return {p: Lora(t[0], t[1]) if kinds[p] == "lora" else Offset(t[0]) for p, t in found.items()}


def merge(weight: Tensor, patches: Iterable[tuple[Patch, float]]) -> Tensor:
    """Return `weight` with (patch, strength) pairs added in float32, in the weight's own dtype.

    This is what hosts compute when they merge; the formula is that of the released models' host.
    """
    merged = weight.float()
    for patch, strength in patches:
        if isinstance(patch, Lora):
            up, down = (factor.to(weight.device).float().flatten(1) for factor in (patch.up, patch.down))
            delta = (up @ down).reshape(merged.shape)
        else:
            delta = patch.delta.to(weight.device).float()
        if delta.shape == merged.shape:
            merged = merged + strength * delta
            continue
        wide = merged.new_zeros([max(sides) for sides in zip(merged.shape, delta.shape, strict=True)])
        wide[tuple(slice(n) for n in merged.shape)] = merged
        wide[tuple(slice(n) for n in delta.shape)] += strength * delta
        merged = wide
    return merged.to(weight.dtype)
