"""What an adapter hands to its host's patcher and memory manager, against the host's recorded signatures."""

from __future__ import annotations

import gc
import uuid
import weakref
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from lib_layerdiffusion.files.layer_patch import Lora, Offset
from tests.helpers import host_records
from tests.helpers.stub_hosts import BACKEND, FORGE, NUMBERED, Patcher, Stubbed

PATCHES = {
    "diffusion_model.a.weight": Lora(torch.ones(6, 2), torch.ones(2, 5)),
    "diffusion_model.b.weight": Offset(torch.ones(3, 8, 3, 3)),
}


def test_weight_patches_are_written_as_the_host_reads_them(stubbed: Stubbed) -> None:
    unet = stubbed.unet()
    assert stubbed.adapter.patch_weights(unet, "file@1", PATCHES, 0.5) == len(PATCHES)
    given = unet.add_patches.call_args.kwargs
    lora, offset = given["patches"].values()
    assert given["strength_patch"] == 0.5
    if stubbed.key in NUMBERED:
        assert isinstance(lora, stubbed.lora_adapter)
        assert lora.weights[0].shape == (6, 2)
        assert lora.weights[2:] == (None,) * 4
        # without this these hosts leave a convolution as narrow as it was
        assert offset[1][1] == {"pad_weight": True}
    else:
        assert lora[0] == "lora"
        # alpha and mid are looked at
        assert lora[1][2:4] == [None, None]
    assert offset[0] == "diff"
    assert offset[1][0].shape == (3, 8, 3, 3)
    if stubbed.key in FORGE:
        # what the host compares to find out whether to merge again
        assert given["filename"] == "file@1"


def test_forges_loader_with_comfyuis_adapters_gets_adapters(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neo at the beginning of 2026, whose merging passes over LoRAs that are lists."""
    stubbed = Stubbed("forge", monkeypatch)
    kind: Any = type("LoRAAdapter", (SimpleNamespace,), {})
    stubbed.modules["backend.patcher.lora"].weight_adapter = SimpleNamespace(LoRAAdapter=kind)
    unet = stubbed.unet()
    assert stubbed.adapter.patch_weights(unet, "file@1", PATCHES, 0.5) == len(PATCHES)
    given = unet.add_patches.call_args.kwargs
    lora, offset = given["patches"].values()
    assert isinstance(lora, kind)
    assert [tuple(one.shape) for one in lora.weights[:2]] == [(6, 2), (2, 5)]
    assert offset[1][1] == {"pad_weight": True}
    assert given["filename"] == "file@1"


def test_what_is_loaded_already_can_be_compared_by_its_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """ersatzForge asks whether the patches of two patchers are equal, which tensors read anew do not tell."""
    stubbed = Stubbed("ersatz", monkeypatch)
    network = stubbed.unet().model

    def patched(identity: str) -> Any:
        unet = stubbed.unet()
        unet.model = network

        def add_patches(filename: str, patches: Any, strength_patch: float) -> list[str]:
            forms = {name: [[strength_patch, form, 1.0, None, None]] for name, form in patches.items()}
            unet.lora_patches[filename, strength_patch, 1.0, False] = forms
            return list(patches)

        unet.add_patches.side_effect = add_patches
        read_anew = {
            name: Offset(torch.ones(2, 2)) if name.endswith("b") else Lora(torch.ones(6, 2), torch.ones(2, 5))
            for name in ("diffusion_model.a", "diffusion_model.b")
        }
        assert stubbed.adapter.patch_weights(unet, identity, read_anew, 1.0) == 2
        return unet

    before = patched("file@1")
    stubbed.memory.current_loaded_models = [SimpleNamespace(model=before)]
    assert patched("file@1").lora_patches == before.lora_patches
    assert patched("file@2").lora_patches != before.lora_patches


@pytest.mark.parametrize("host", NUMBERED)
def test_the_same_patches_are_not_merged_twice(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stubbed = Stubbed(host, monkeypatch)

    def number(identity: str = "file@1", strength: float = 1.0, before: int = 1) -> uuid.UUID:
        unet = stubbed.unet()
        unet.patches_uuid = uuid.UUID(int=before)
        stubbed.adapter.patch_weights(unet, identity, PATCHES, strength)
        return unet.patches_uuid

    assert number() == number()
    assert len({number(), number("file@2"), number(strength=0.5), number(before=2), uuid.UUID(int=1)}) == 5


@pytest.mark.parametrize("host", [host for host in host_records.HOSTS if host not in (*BACKEND, *NUMBERED)])
def test_the_loaded_patcher_is_used_again_where_hosts_go_by_the_object(
    host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stubbed = Stubbed(host, monkeypatch)
    adapter = stubbed.adapter
    model, lora = object(), (1.0, ("lora", [torch.ones(2)]), 1.0)
    p = stubbed.job()

    def made(strength: float = 1.0, patches: Any = PATCHES, **changes: Any) -> Patcher:
        entries = adapter.weight_patches(patches)
        merged = {name: [lora, (strength, entry, 1.0)] for name, entry in entries.items()}
        unet = Patcher(model=model, patches=merged, object_patches={}, backup={}, model_options={})
        adapter.mark(unet, "ours")
        vars(unet).update(changes)
        return unet

    loaded = made(backup={"a": "the model's own"}, current_device="cuda", notes="first")
    stubbed.memory.current_loaded_models = [
        SimpleNamespace(model=SimpleNamespace(model=None)),
        SimpleNamespace(model=loaded),
    ]
    again = made(notes="second")
    adapter.install(p, again)
    assert adapter.unet(p) is loaded
    assert loaded.notes == "second"
    assert loaded.model_options is again.model_options
    # it still knows what it changed, and where the model is
    assert loaded.backup == {"a": "the model's own"}
    assert loaded.current_device == "cuda"
    read_anew = {name: Offset(torch.ones(3, 8, 3, 3)) for name in PATCHES}
    others = [
        made(strength=0.5),
        made(patches=read_anew),
        made(patches=dict(list(PATCHES.items())[:1])),
        made(object_patches={"diffusion_model": object()}),
        made(model=object()),
    ]
    for other in others:
        adapter.install(p, other)
        assert adapter.unet(p) is other
    del loaded.model_options["layerdiffuse"]
    adapter.install(p, made())
    assert adapter.unet(p) is not loaded


def test_condition_pictures_join_in_the_hosts_own_kind(stubbed: Stubbed) -> None:
    unet, original = stubbed.unet(), stubbed.unet()
    p = stubbed.job(unet)
    stubbed.adapter.condition(p, unet, original, torch.ones(1, 4, 2, 2), 0.5, lambda: None)
    modifier = unet.add_conditioning_modifier.call_args.args[0]
    cond: list[Any] = [{"model_conds": {}}]
    x = torch.zeros(2, 4, 2, 2)
    model, *_ = modifier(unet.model, x, torch.tensor([8.0, 8.0]), None, cond, 5.0, {}, 1)
    assert model is unet.model
    kind = "Condition" if stubbed.key in BACKEND else "CONDRegular"
    assert type(cond[0]["model_conds"]["c_concat"]).__name__ == kind
    # 0.5 of this schedule is sigma 7
    model, *_ = modifier(unet.model, x, torch.tensor([6.0, 6.0]), None, [], 5.0, {}, 1)
    assert model is original.model


def test_networks_are_loaded_by_the_hosts_memory_manager(stubbed: Stubbed) -> None:
    network = torch.nn.Linear(2, 2)
    resident = stubbed.adapter.adopt(network)
    with resident(1000) as found:
        assert found is network
    ((patcher,),), given = stubbed.memory.load_models_gpu.call_args
    assert patcher.model is network
    assert given["memory_required"] == 1000 * next(network.parameters()).element_size()
    unet = stubbed.unet()
    stubbed.adapter.keep_beside(unet, network, 1000)
    assert unet.add_extra_model_patcher_during_sampling.call_args.args[0].model is network
    assert unet.add_extra_preserved_memory_during_sampling.call_args.args == (2000,)


@pytest.mark.parametrize("host", NUMBERED)
def test_networks_of_ours_are_never_loaded_in_part(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their layers are not the host's, which alone compute where their weights are not."""
    stubbed = Stubbed(host, monkeypatch)
    base = stubbed.adapter.make_patcher.__mro__[1]
    seen: list[float] = []
    base.partially_load = lambda self, device_to, extra_memory=0, force_patch_weights=False: seen.append(
        extra_memory
    )
    patcher = stubbed.adapter.make_patcher(torch.nn.Linear(2, 2), load_device="cpu", offload_device="cpu")
    patcher.partially_load("cpu", 0.1, force_patch_weights=False)
    assert seen[0] > 1e18
    assert patcher.partially_unload("cpu", 1 << 20) == 0


def test_a_network_that_is_done_with_is_forgotten(stubbed: Stubbed) -> None:
    network = torch.nn.Linear(2, 2)
    ours, dead = SimpleNamespace(model=network), None
    entries = [SimpleNamespace(model=m, model_unload=lambda: None) for m in (dead, ours, SimpleNamespace())]
    stubbed.memory.current_loaded_models = list(entries)
    stubbed.adapter.release(network)
    if hasattr(stubbed.memory, "unload_model_clones"):
        assert stubbed.memory.unload_model_clones.call_args.args == (ours,)
    else:
        assert stubbed.memory.current_loaded_models == [entries[0], entries[2]]


def test_a_network_beside_the_unet_stays_in_the_books_of_the_memory_manager(stubbed: Stubbed) -> None:
    """Some know patchers by weak references, and count a network out when its patcher is gone."""
    network = torch.nn.Linear(2, 2)
    given: list[Any] = []
    for _ in range(2):
        unet = stubbed.unet()
        unet.add_extra_model_patcher_during_sampling.side_effect = lambda p: given.append(weakref.ref(p))
        stubbed.adapter.keep_beside(unet, network, 1000)
        del unet
    gc.collect()
    first, second = (known() for known in given)
    assert first is not None
    assert first is second
    assert first.model is network
    del first, second
    stubbed.adapter.release(network)
    gc.collect()
    assert given[0]() is None


def test_shapes_are_those_of_the_checkpoint_whatever_is_merged(stubbed: Stubbed) -> None:
    parameters = {"diffusion_model.b.weight": torch.zeros(3, 8, 3, 3), "diffusion_model.c": torch.zeros(2)}
    own = torch.zeros(3, 4, 3, 3)
    unet = stubbed.unet(named_parameters=parameters.items)
    name = "diffusion_model.b.weight"
    unet.model.lora_loader.backup = {name: own}
    unet.backup = {name: SimpleNamespace(weight=own)}
    clone = SimpleNamespace(backup={name: own}, model=unet.model)
    stubbed.memory.current_loaded_models = [SimpleNamespace(model=clone)]
    unet.is_clone.side_effect = lambda other: other is clone
    found = stubbed.adapter.unet_parameters(stubbed.job(unet))
    assert found == {name: (3, 4, 3, 3), "diffusion_model.c": (2,)}
