"""Attention that a scene's frames share: what it computes, and that nothing of it stays in the network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from lib_layerdiffusion.errors import UnsupportedMethod
from lib_layerdiffusion.files import tensors
from lib_layerdiffusion.job import scene_attention
from lib_layerdiffusion.methods import FOLDER, Method
from lib_layerdiffusion.models.attention_sharing import (
    UNIT_MODULES,
    AttentionSharing,
    ControlEncoder,
    SharingUnit,
    linear_weight,
)
from miniature.nets.random_weights import BaseModel
from miniature.webui.host import MiniatureHost
from miniature.webui.patcher import Patcher
from miniature.webui.processing import WebUI
from tests.helpers.jobs import arguments
from tests.helpers.sd15_jobs import ALONE, BG2FG, FG2BG, JOINT, SD15_METHODS, Generate, name


@pytest.mark.parametrize("strength", [0.0, 0.7])
@pytest.mark.parametrize("method", [JOINT, FG2BG], ids=name)
def test_no_extra_weights_is_the_unpatched_network(
    models_dir: Path, webui15: WebUI, method: Method, strength: float
) -> None:
    state = tensors.state_dict(models_dir / FOLDER / method.weights.filename)
    if strength:
        state = {key: torch.zeros_like(tensor) for key, tensor in state.items()}
    network = AttentionSharing.from_state_dict(state, method.frames, control=bool(method.pictures)).float()
    control = torch.rand(1, 3, 64, 64) if method.pictures else None
    shared = scene_attention.SharedAttention(network, strength, [], control, {})
    unet = webui15.base.unet
    modules = [unet.get_submodule(module) for module in UNIT_MODULES]
    rows = 2 * method.frames
    torch.manual_seed(0)
    x, t, context = torch.randn(rows, 4, 8, 8), torch.full((rows,), 500.0), torch.randn(rows, 16, 64)
    with torch.inference_mode():
        expected = unet(x, t, context)
        with shared.active(modules, [1, 0], rows):
            result = unet(x, t, context)
        # products in another order: this network makes rounding a thousand times larger
        torch.testing.assert_close(result, expected, atol=1e-3, rtol=1e-3)
        assert torch.equal(unet(x, t, context), expected)
    assert not any("forward" in vars(module) for module in modules)


def test_forwards_are_put_back_when_the_network_fails(models_dir: Path, webui15: WebUI) -> None:
    network = AttentionSharing.from_state_dict(
        tensors.state_dict(models_dir / FOLDER / ALONE.weights.filename), 1, control=False
    )
    modules = [webui15.base.unet.get_submodule(module) for module in UNIT_MODULES]
    shared = scene_attention.SharedAttention(network, 1.0, [], None, {})
    with pytest.raises(ZeroDivisionError), shared.active(modules, [0], 1):
        raise ZeroDivisionError
    assert not any("forward" in vars(module) for module in modules)


def test_a_forward_that_another_extension_set_is_put_back(models_dir: Path, webui15: WebUI) -> None:
    state = tensors.state_dict(models_dir / FOLDER / ALONE.weights.filename)
    network = AttentionSharing.from_state_dict(state, 1, control=False)
    modules = [webui15.base.unet.get_submodule(module) for module in UNIT_MODULES]

    def other(x: torch.Tensor, context: torch.Tensor | None = None) -> torch.Tensor:
        return x

    modules[3].forward = other
    with scene_attention.SharedAttention(network, 1.0, [], None, {}).active(modules, [0], 1):
        assert modules[3].forward is not other
    assert [n for n, module in enumerate(modules) if "forward" in vars(module)] == [3]
    assert modules[3].forward is other


class OddLinear(nn.Module):
    """A host's layer: no float weight to read, a LoRA that is added while it runs."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self._layer = [layer]
        self.weight = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self._layer[0](x) + 2 * x[..., :1]
        return result


def test_weights_are_what_a_layer_does_not_what_it_stores() -> None:
    layer = nn.Linear(5, 7)
    weight, bias = linear_weight(OddLinear(layer), 5, torch.zeros(1))
    expected = layer.weight.clone()
    expected[:, 0] += 2
    torch.testing.assert_close(weight, expected)
    torch.testing.assert_close(bias, layer.bias)


@torch.inference_mode()
def test_attention_takes_what_hosts_hand_over(models_dir: Path, webui15: WebUI) -> None:
    """`value` and `mask` mean what they mean to the host; at strength 0 that can be compared."""
    network = AttentionSharing.from_state_dict(
        tensors.state_dict(models_dir / FOLDER / JOINT.weights.filename), 3, control=False
    ).float()
    modules = [webui15.base.unet.get_submodule(module) for module in UNIT_MODULES]
    cross: Any = modules[1]
    x, context, value = torch.randn(3, 5, 32), torch.randn(3, 7, 64), torch.randn(3, 7, 64)
    mask = torch.zeros(5, 7)
    mask[:, 3:] = -torch.inf

    def expected(allowed: int) -> torch.Tensor:
        q, k, v = (
            tokens.unflatten(-1, (8, -1)).transpose(1, 2)
            for tokens in (cross.to_q(x), cross.to_k(context[:, :allowed]), cross.to_v(value[:, :allowed]))
        )
        attended = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1) @ v
        result: torch.Tensor = cross.to_out(attended.transpose(1, 2).flatten(2))
        return result

    shared = scene_attention.SharedAttention(network, 0.0, [], None, {})
    with shared.active(modules, [0], 3):
        whole = cross.forward(x, context=context, value=value, transformer_options={})
        part = cross.forward(x, context=context, value=value, mask=mask, transformer_options={})
    torch.testing.assert_close(whole, expected(7), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(part, expected(3), atol=1e-4, rtol=1e-4)


def test_nothing_is_computed_twice(generate15: Generate, monkeypatch: pytest.MonkeyPatch) -> None:
    merges: list[int] = []
    signals: list[int] = []
    merge = SharingUnit.merge

    def counted_merge(self: SharingUnit, *args: Any) -> Any:
        merges.append(id(self))
        return merge(self, *args)

    forward = ControlEncoder.forward

    def counted_forward(self: ControlEncoder, x: torch.Tensor) -> Any:
        signals.append(1)
        return forward(self, x)

    monkeypatch.setattr(SharingUnit, "merge", counted_merge)
    monkeypatch.setattr(ControlEncoder, "forward", counted_forward)
    generate15(arguments(BG2FG), steps=6, n_iter=2)
    # once per sampling pass; the control encoder once per generation
    assert sorted(merges) == sorted(list(set(merges)) * 2)
    assert len(set(merges)) == 32
    assert len(signals) == 1


def test_nothing_is_kept_that_grows_with_use(
    host15: MiniatureHost, generate15: Generate, monkeypatch: pytest.MonkeyPatch
) -> None:
    released: list[nn.Module] = []
    made: list[nn.Module] = []
    build = tensors.network

    def counted(path: Path, build_network: Any) -> Any:
        made.append(build(path, build_network))
        return made[-1]

    shares: list[scene_attention.SharedAttention] = []
    active = scene_attention.SharedAttention.active

    def seen(self: scene_attention.SharedAttention, *args: Any) -> Any:
        shares.append(self)
        return active(self, *args)

    monkeypatch.setattr(tensors, "network", counted)
    monkeypatch.setattr(MiniatureHost, "release", lambda self, network: released.append(network))
    monkeypatch.setattr(scene_attention.SharedAttention, "active", seen)
    for method in (JOINT, FG2BG, JOINT, JOINT):
        generate15(arguments(method))
    sharing = [network for network in made if isinstance(network, AttentionSharing)]
    # the last one is kept for the next generation; the host is told to forget each one before
    assert len(sharing) == 3
    assert released == sharing[:2]
    assert shares
    assert not any(shared._merged for shared in shares)


def test_token_counts_that_another_extension_changed(
    generate15: Generate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ControlEncoder, "forward", lambda self, x: {7: torch.zeros(1, 16, 1, 7)})
    with pytest.raises(UnsupportedMethod, match="token merging"):
        generate15(arguments(FG2BG))


def test_nothing_is_left_in_the_network(generate15: Generate, webui15: WebUI, base15: BaseModel) -> None:
    before = generate15(batch_size=3).images[0].tobytes()
    for method in SD15_METHODS:
        generate15(arguments(method, ending_step=0.5))
    assert isinstance(webui15.patcher, Patcher)
    assert generate15(batch_size=3).images[0].tobytes() == before
    state, original = webui15.base.unet.state_dict(), base15.unet.state_dict()
    assert state.keys() == original.keys()
    assert all(torch.equal(state[key], original[key]) for key in state)
