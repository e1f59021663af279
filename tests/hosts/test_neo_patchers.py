"""Forge Neo's patcher in both of its forms: ours and a LoRA that is added while the layers run."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from lib_layerdiffusion.files.layer_patch import Lora
from tests.helpers.neo_patchers import FORMS, Layer, Patcher
from tests.helpers.stub_hosts import Stubbed

SHARED, THEIRS, OURS = "diffusion_model.0.weight", "diffusion_model.1.weight", "diffusion_model.2.weight"


class Neo:
    """A UNet of three layers over one form of the patcher: a LoRA of 10 on two layers, ours of 1 on two."""

    def __init__(self, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.stubbed = Stubbed("neo", monkeypatch)
        self.adapter = self.stubbed.adapter
        network: Any = torch.nn.Module()
        network.diffusion_model = torch.nn.Sequential(Layer(2, 2), Layer(2, 2), Layer(2, 2))
        self.network = network
        self.original = FORMS[form](network, load_device="cpu", offload_device="cpu")
        self.stubbed.memory.get_free_memory = lambda device: 1e9

    def lora(self, online: bool) -> None:
        adapter = self.stubbed.lora_adapter(
            loaded_keys=set(), weights=(torch.full((2, 1), 10.0), torch.ones(1, 2), None, None, None, None)
        )
        patches = {name: adapter for name in (SHARED, THEIRS)}
        self.original.add_patches(patches, filename="their.safetensors", online_mode=online)

    def ours(self) -> Patcher:
        unet = self.original.clone()
        ours = {name: Lora(torch.full((2, 1), 1.0), torch.ones(1, 2)) for name in (SHARED, OURS)}
        assert self.adapter.patch_weights(unet, "file@1", ours, 1.0) == 2
        return unet

    def values(self) -> list[float]:
        layers = [self.network.diffusion_model[n].effective() for n in range(3)]
        assert all(bool((layer == layer[0, 0]).all()) for layer in layers)
        return [float(layer[0, 0]) for layer in layers]


@pytest.fixture(params=FORMS)
def neo(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Neo:
    return Neo(request.param, monkeypatch)


@pytest.mark.parametrize("online", [False, True])
def test_a_lora_keeps_its_effect_together_with_ours(neo: Neo, online: bool) -> None:
    neo.lora(online)
    unet = neo.ours()
    unet.partially_load("cpu")
    assert neo.values() == [11, 10, 1]
    # and after it
    neo.original.partially_load("cpu")
    assert neo.values() == [10, 10, 0]


@pytest.mark.parametrize("online", [False, True])
def test_below_stop_at_the_lora_is_left(neo: Neo, online: bool) -> None:
    neo.lora(online)
    unet = neo.ours()
    unet.partially_load("cpu")
    own = neo.adapter.own_weights(unet, neo.original, torch.zeros(1, 4, 2, 2))
    if own is None:
        # it is not in the weights: the host loads what there was before
        assert online
        neo.original.partially_load("cpu")
        assert neo.values() == [10, 10, 0]
    else:
        with own.in_place():
            assert neo.values() == [10, 10, 0]
        assert neo.values() == [11, 10, 1]


def test_what_the_host_pinned_stays_pinned(neo: Neo) -> None:
    neo.lora(online=False)
    unet = neo.ours()
    unet.partially_load("cpu")
    unet.pinned.add(SHARED)
    assert len(neo.adapter.own_weights(unet, neo.original, torch.zeros(1, 4, 2, 2))) == 2
    assert unet.pinned == {SHARED}


def test_the_same_job_again_loads_nothing(neo: Neo) -> None:
    neo.lora(online=True)
    neo.ours().partially_load("cpu")
    again = neo.ours()
    assert again.partially_load("cpu") == 0
    assert again.loads == []
    assert neo.values() == [11, 10, 1]


def test_networks_of_ours_are_loaded_as_a_whole(neo: Neo) -> None:
    module: Any = sys.modules["lib_layerdiffusion.hosts.weight_adapters"]
    patcher = module.loads_completely(type(neo.original))(
        torch.nn.Linear(2, 2), load_device="cpu", offload_device="cpu"
    )
    assert patcher.current_device == "cpu"
    assert patcher.partially_load("cpu", 0.1) == 1
    assert patcher.loads[0] > 1e18
    assert patcher.partially_unload("cpu", 1 << 20) == 0
    entry = SimpleNamespace(model=patcher, model_unload=lambda: patcher.unpatch_model("cpu"))
    neo.stubbed.memory.current_loaded_models = [entry]
    neo.adapter.release(patcher.model)
    assert neo.stubbed.memory.current_loaded_models == []
