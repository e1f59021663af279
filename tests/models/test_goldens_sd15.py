"""The SD1.5 networks against numbers of the released extension (CPU, float32).

Tolerances: networks 5e-5, units 1e-4; two correct implementations differ by less than a tenth of that.
"""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lib_layerdiffusion.job.scene_attention import SharedAttention
from lib_layerdiffusion.models.attention_sharing import (
    UNIT_MODULES,
    AttentionSharing,
    ControlEncoder,
    SharingUnit,
)
from tests.goldens import golden_weights
from tests.models.test_goldens import FOLDER, NETWORK, difference, load, names

TABLES = {1: "layer_sd15_transparent_attn", 2: "layer_sd15_fg2bg", 3: "layer_sd15_joint"}
UNIT = 1e-4


@cache
def table(name: str) -> dict[str, tuple[int, ...]]:
    tensors = json.loads((FOLDER / "keys" / f"{name}.json").read_text("utf-8"))["tensors"]
    return {key: tuple(shape) for key, shape in tensors.items()}


def part(name: str, prefix: str) -> dict[str, Tensor]:
    """The tensors of a file that begin with `prefix`, without it."""
    return {
        key[len(prefix) :]: torch.from_numpy(golden_weights.parameter(key, shape))
        for key, shape in table(name).items()
        if key.startswith(prefix)
    }


@cache
def control_encoder() -> ControlEncoder:
    encoder = ControlEncoder([3, 32, 32, 64, 64, 128, 128, 256, 256])
    encoder.load_state_dict(part("layer_sd15_fg2bg", "kwargs_encoder."), strict=True)
    return encoder.eval()


class BaseAttention(nn.Module):
    """What a host's attention module has that a unit needs, with weights by the golden rule."""

    def __init__(self, layer: int, hidden: int, context: int, bias_scale: float) -> None:
        super().__init__()

        def linear(name: str, in_features: int, bias: bool) -> nn.Linear:
            made = nn.Linear(in_features, hidden, bias=bias)
            key = f"base.{layer}.{name}"
            made.weight.data = torch.from_numpy(
                golden_weights.parameter(f"{key}.weight", (hidden, in_features))
            )
            if bias:
                values = golden_weights.parameter(f"{key}.bias", (hidden,))
                made.bias.data = torch.from_numpy(values) * bias_scale
            return made

        self.to_q = linear("to_q", hidden, False)
        self.to_k = linear("to_k", context, False)
        self.to_v = linear("to_v", context, False)
        self.to_out = nn.Sequential(linear("to_out.0", hidden, True), nn.Dropout(0))


class OneUnit:
    """A network of which only the unit under test exists, at an even (self) and an odd (cross) place."""

    def __init__(self, unit: SharingUnit, encoder: ControlEncoder | None) -> None:
        self.units = [unit, unit]
        self.kwargs_encoder = encoder


@torch.inference_mode()
@pytest.mark.parametrize("size", ["64x64", "96x64"])
def test_control_encoder(size: str) -> None:
    golden = load("control_encoder")
    signals = control_encoder()(torch.from_numpy(golden[f"in_u8_{size}"]).float() / 255)
    assert sorted(signals) == sorted(golden[f"keys_{size}"].tolist())
    for tokens, signal in signals.items():
        expected = golden[f"out_{size}_{tokens}"]
        assert list(signal.shape) == golden[f"shape_{size}_{tokens}"].tolist()
        result = signal if signal.shape == expected.shape else signal[:, ::4]
        assert difference(result, expected) <= NETWORK


@torch.inference_mode()
@pytest.mark.parametrize("name", names("unit_*"))
def test_unit(name: str) -> None:
    golden, short = load(name), name.removeprefix("unit_")
    frames, layer, groups = (int(golden[key]) for key in ("frames", "layer", "groups"))
    state = part(TABLES[frames], f"hookers.layers.{layer}.")
    hidden, context = state["to_k_lora.0.up.weight"].shape[0], state["to_k_lora.0.down.weight"].shape[1]
    has_control = "control_u8" in golden
    if not has_control:
        state = {key: tensor for key, tensor in state.items() if not key.startswith("control_convs")}
    unit = SharingUnit(frames, hidden, context, rank=256, control=256 if has_control else None)
    unit.load_state_dict(state, strict=True)
    rows, tokens = groups * frames, int(golden["hw"].prod())

    def noise(what: str, *shape: int) -> Tensor:
        return torch.from_numpy(golden_weights.noise(f"unit|{short}|{what}", shape))

    h = noise("h", rows, tokens, hidden) * float(golden["h_scale"])
    text = noise("context", rows, 77, 768) if "context_check" in golden else None
    prompts: list[Tensor | None] = [
        noise(f"overwrite{frame}", 1, 77, 768) if present else None
        for frame, present in enumerate(golden.get("overwrite_present", np.zeros(0)))
    ]
    picture = torch.from_numpy(golden["control_u8"]).float() / 255 if has_control else None
    network: Any = OneUnit(unit, control_encoder() if has_control else None)
    shared = SharedAttention(network, 1.0, prompts, picture, {})
    base = BaseAttention(layer, hidden, context, 1 / 256 if "lowvar" in name else 1.0)
    places = [nn.Identity(), base] if text is not None else [base, nn.Identity()]
    # every group is a chunk of its own, so that its prompt is positive or negative as a whole
    marks = [int(mark) for mark in golden["cond_mark"][::frames]]
    with shared.active(places, marks, rows):
        y = base.forward(h, context=text).numpy()
    stride = golden["out_stride"]
    assert difference(y[:, :: stride[0], :: stride[1]], golden["out"]) <= UNIT


@pytest.mark.parametrize(("frames", "control"), [(1, False), (2, True), (3, False)])
@pytest.mark.parametrize("change", ["nothing", "missing", "additional", "shape"])
def test_strict_loading(frames: int, control: bool, change: str) -> None:
    shapes = dict(table(TABLES[frames]))
    last = list(shapes)[-1]
    if change == "missing":
        del shapes[last]
    elif change == "additional":
        shapes["surplus.weight"] = (1,)
    elif change == "shape":
        shapes[last] = (*shapes[last][:-1], shapes[last][-1] + 1)
    # one number seen at every place: the files have hundreds of millions
    tensors = {key: torch.zeros(()).expand(shape) for key, shape in shapes.items()}
    if change == "nothing":
        network = AttentionSharing.from_state_dict(tensors, frames, control)
        assert len(network.units) == len(UNIT_MODULES) == 32
        return
    with pytest.raises((RuntimeError, KeyError)):
        AttentionSharing.from_state_dict(tensors, frames, control)


def test_units_belong_to_the_released_modules() -> None:
    units = json.loads((FOLDER / "keys" / "sd15_unit_map.json").read_text("utf-8"))["units"]
    assert [f"diffusion_model.{module}" for module in UNIT_MODULES] == [unit["module"] for unit in units]
    assert [n % 2 == 0 for n in range(32)] == [unit["kind"] == "self" for unit in units]
