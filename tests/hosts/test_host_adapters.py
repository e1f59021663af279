"""Each adapter against stubs with its host's recorded signatures: a call that the host would refuse fails."""

from __future__ import annotations

import importlib
import inspect
import sys
import uuid
from contextlib import contextmanager, nullcontext
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import create_autospec

import numpy as np
import pytest
import torch
from PIL import Image

from lib_layerdiffusion import hosts
from lib_layerdiffusion.errors import IncompatibleHost, UnsupportedMethod
from lib_layerdiffusion.files.layer_patch import Lora, Offset
from tests.helpers import host_records
from tests.helpers.jobs import picture

NAMES = {
    "forge": "Forge",
    "neo": "Forge Neo",
    "reforge": "reForge",
    "classic": "Forge Classic",
    "early_forge": "Forge of early 2024",
}
BACKEND = ("forge", "neo")
NUMBERED = ("neo", "reforge")
"""Hosts that number the state of a patcher's patches."""

PATCHES = {
    "diffusion_model.a.weight": Lora(torch.ones(6, 2), torch.ones(2, 5)),
    "diffusion_model.b.weight": Offset(torch.ones(3, 8, 3, 3)),
}


class Stubbed:
    """A host of recorded signatures, and the adapter that `detect` finds on it."""

    def __init__(self, host: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.key = host
        self.modules = host_records.install(monkeypatch, host)
        for name in [name for name in sys.modules if name.startswith("lib_layerdiffusion.hosts.")]:
            if name.rpartition(".")[2] not in ("base", "capabilities"):
                monkeypatch.delitem(sys.modules, name)
        backend = host in BACKEND
        self.memory = self.modules[
            "backend.memory_management" if backend else "ldm_patched.modules.model_management"
        ]
        patchers = self.modules["backend.patcher.base" if backend else "ldm_patched.modules.model_patcher"]
        units = self.modules["backend.patcher.unet" if backend else "modules_forge.unet_patcher"]
        self.unet_patcher = type("UnetPatcher", (units.UnetPatcher, patchers.ModelPatcher), {})
        _remember_arguments(patchers.ModelPatcher)
        self._link_weight_adapters()
        self.memory.current_loaded_models = []
        for name in ("load_models_gpu", "unload_model_clones"):
            if hasattr(self.memory, name):
                setattr(self.memory, name, create_autospec(getattr(self.memory, name)))
        self.memory.get_torch_device = lambda: torch.device("cpu")
        self.memory.unet_offload_device = lambda: torch.device("cpu")
        self.modules["modules_forge.forge_version"].version = {"classic": "classic"}.get(
            host, "f0.0.17v1.8.0"
        )
        self.adapter: Any = hosts.detect()

    def _link_weight_adapters(self) -> None:
        if self.key == "neo":
            lora = self.modules["modules_forge.packages.comfy.weight_adapter.lora"]
            self.modules["backend.patcher.lora"].weight_adapter = lora
        elif self.key == "reforge":
            lora = self.modules["ldm_patched.modules.weight_adapter.lora"]
            self.modules["ldm_patched.modules.weight_adapter"].LoRAAdapter = lora.LoRAAdapter
        else:
            return
        _remember_arguments(lora.LoRAAdapter)
        self.lora_adapter = lora.LoRAAdapter

    def unet(self, **model: Any) -> Any:
        unet = create_autospec(self.unet_patcher, instance=True)
        unet.model_options = {"transformer_options": {}}
        unet.load_device = unet.offload_device = torch.device("cpu")
        unet.patches_uuid = uuid.UUID(int=1)
        unet.backup = {}
        unet.add_patches.side_effect = lambda **given: list(given["patches"])
        unet.clone.return_value = unet
        schedule = SimpleNamespace(percent_to_sigma=lambda percent: 14 * (1 - percent))
        unet.model = SimpleNamespace(
            predictor=schedule,
            model_sampling=schedule,
            computation_dtype=torch.float16,
            manual_cast_dtype=None,
            get_dtype=lambda: torch.float16,
            latent_format=_scaling(),
            lora_loader=SimpleNamespace(backup={}),
            diffusion_model=torch.nn.Sequential(torch.nn.Linear(2, 2)),
            **model,
        )
        unet.model.diffusion_model.in_channels = 4
        return unet

    def job(self, unet: Any = None, **model: Any) -> Any:
        """A processing object with a loaded SD1.5 model, as far as an adapter looks at it."""
        unet = unet or self.unet()
        vae = SimpleNamespace(
            latent_channels=4,
            first_stage_model=_Autoencoder(),
            patcher=object(),
            memory_used_encode=lambda shape, dtype: shape[2] * shape[3] * 1767,
            vae_dtype=torch.float32,
            device=torch.device("cpu"),
            output_device=torch.device("cpu"),
            encode=lambda pixels: "the host's own",
        )
        objects = _ForgeObjects(unet, vae)
        loaded = SimpleNamespace(
            forge_objects=objects,
            forge_objects_original=objects,
            forge_objects_after_applying_lora=objects,
            is_sd1=True,
            is_sdxl=False,
            **model,
        )
        return SimpleNamespace(sd_model=loaded, width=64, height=64, steps=20)


class _ForgeObjects:
    def __init__(self, unet: Any, vae: Any) -> None:
        self.unet, self.vae = unet, vae

    def shallow_copy(self) -> _ForgeObjects:
        return _ForgeObjects(self.unet, self.vae)


class _Autoencoder:
    """Moments that tell what the encoder was given."""

    quant_conv = None

    def encoder(self, x: torch.Tensor) -> torch.Tensor:
        small = x.mean(1, keepdim=True)[:, :, ::8, ::8]
        return torch.cat([small.expand(-1, 4, -1, -1), small.expand(-1, 4, -1, -1) - 1], dim=1)

    process_in = staticmethod(lambda latent: latent * 0.5)
    process_out = staticmethod(lambda latent: latent / 0.5)


def _scaling() -> Any:
    return SimpleNamespace(process_in=_Autoencoder.process_in, process_out=_Autoencoder.process_out)


def _remember_arguments(owner: type) -> None:
    recorded = owner.__init__  # type: ignore[misc]

    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        recorded(self, *args, **kwargs)
        self.__dict__.update(inspect.signature(recorded).bind(self, *args, **kwargs).arguments)

    owner.__init__ = init  # type: ignore[misc]


@pytest.fixture(params=host_records.HOSTS)
def stubbed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Stubbed:
    return Stubbed(request.param, monkeypatch)


def test_each_host_gets_its_adapter(stubbed: Stubbed) -> None:
    assert stubbed.adapter.name == NAMES[stubbed.key]


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
    if stubbed.key == "forge":
        # what the host compares to find out whether to merge again
        assert given["filename"] == "file@1"


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


class Patcher(SimpleNamespace):
    """A patcher as far as an adapter looks at it when it is installed."""

    def is_clone(self, other: Any) -> bool:
        return other.model is self.model


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
        adapter.mark(unet)
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


class Merged:
    """A UNet whose loaded patcher `ours` adds to what `original` has: another's patch, or none."""

    def __init__(self, stubbed: Stubbed, theirs: bool = False) -> None:
        self.stubbed = stubbed
        self.original, self.ours = stubbed.unet(), stubbed.unet()
        network: Any = torch.nn.Module()
        network.diffusion_model = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 1), torch.nn.Linear(2, 2))
        self.name, self.untouched = "diffusion_model.0.weight", "diffusion_model.1.weight"
        self.own: Any = torch.nn.Parameter(torch.zeros(3, 1, 1, 1), requires_grad=False)
        a, b = (0.7, "theirs"), (1.0, "ours")
        lora_patches = [{self.name: [a], self.untouched: [a]} if theirs else {}, {self.name: [b]}]
        merged = {self.name: [a, b] if theirs else [b]} | ({self.untouched: [a]} if theirs else {})
        network.predictor = network.model_sampling = self.ours.model.predictor
        for unet in (self.original, self.ours):
            unet.model = network
            unet.memory_required.side_effect = lambda shape: 1000 * shape[0]
        self.original.lora_patches = {("lora", 0.7, 1.0, False): lora_patches[0]} if theirs else {}
        # one that the layers add while they run is not in the weights
        self.original.lora_patches["running", 1.0, 1.0, True] = {self.name: [(1.0, "running")]}
        self.ours.lora_patches = {**self.original.lora_patches, ("file", 1.0, 1.0, False): lora_patches[1]}
        self.original.patches = lora_patches[0]
        self.ours.patches = merged
        self.ours.patches_uuid = network.current_weight_patches_uuid = uuid.UUID(int=2)
        self.backups = {self.name: self.own, self.untouched: torch.ones(2, 2)}
        entries = {name: SimpleNamespace(weight=weight) for name, weight in self.backups.items()}
        self.ours.backup = self.backups if stubbed.key in ("classic", "early_forge") else entries
        network.lora_loader = SimpleNamespace(
            backup=self.backups, loaded_hash=str(list(self.ours.lora_patches))
        )
        stubbed.memory.current_loaded_models = [SimpleNamespace(model=self.ours)]
        self.free = 2000.0 + self.own.nbytes
        stubbed.memory.get_free_memory = lambda device: self.free
        self.ours.is_clone.side_effect = lambda other: other is self.ours
        self.network = network

    def own_weights(self) -> Any:
        x = torch.zeros(1, 4, 2, 2)
        return self.stubbed.adapter.own_weights(self.ours, self.original, x)


def test_stop_at_finds_the_weights_that_the_host_keeps(stubbed: Stubbed) -> None:
    merged = Merged(stubbed)
    present = merged.network.get_parameter(merged.name)
    own = merged.own_weights()
    assert len(own) == 1
    with own.in_place():
        # the host's own, not a copy
        assert merged.network.get_parameter(merged.name) is merged.own
    assert merged.network.get_parameter(merged.name) is present


def test_stop_at_keeps_what_others_merged_into_the_same_layer(
    stubbed: Stubbed, monkeypatch: pytest.MonkeyPatch
) -> None:
    merged = Merged(stubbed, theirs=True)
    given: list[Any] = []

    def merge(patches: Any, weight: torch.Tensor, key: str, **more: Any) -> torch.Tensor:
        given.append((patches, key))
        return weight + 5

    def merge_in_place(self: Any, key: str, device_to: Any = None) -> None:
        # as these hosts do, unless there is a backup already
        self.backup.setdefault(key, "its own")
        assert not self.weight_inplace_update
        weight = merge(self.patches[key], merged.network.get_parameter(key), key)
        merged.network.get_submodule("diffusion_model.0").weight = torch.nn.Parameter(weight)

    if stubbed.key == "forge":
        stubbed.modules["backend.patcher.lora"].merge_lora_to_weight = merge
    elif stubbed.key in NUMBERED:
        merged.original = SimpleNamespace(
            model=merged.network, patches=merged.original.patches, backup=merged.ours.backup
        )
        patcher = type("Patcher", (SimpleNamespace,), {"patch_weight_to_device": merge_in_place})
        merged.original = patcher(**vars(merged.original), weight_inplace_update=True)
        merged.original.backup = {}
    else:
        merged.original.calculate_weight.side_effect = merge
    present = merged.network.get_parameter(merged.name)
    own = merged.own_weights()
    assert len(own) == 1
    assert [(list(patches), key) for patches, key in given] == [([(0.7, "theirs")], merged.name)]
    with own.in_place():
        assert torch.equal(merged.network.get_parameter(merged.name), torch.full((3, 1, 1, 1), 5.0))
    assert merged.network.get_parameter(merged.name) is present
    assert not merged.own.any()
    if stubbed.key in NUMBERED:
        assert merged.original.backup == {}
    # what it merges anew needs room
    merged.free -= 1
    assert merged.own_weights() is None


def test_stop_at_leaves_it_to_the_host_where_its_weights_are_not_as_expected(stubbed: Stubbed) -> None:
    def changed(change: Any) -> Any:
        merged = Merged(stubbed)
        change(merged)
        return merged.own_weights()

    def other_loaded(merged: Merged) -> None:
        merged.network.lora_loader.loaded_hash = "[]"
        merged.network.current_weight_patches_uuid = uuid.UUID(int=3)
        stubbed.memory.current_loaded_models = []

    def other_model(merged: Merged) -> None:
        merged.original.model = torch.nn.Module()

    def no_backup(merged: Merged) -> None:
        merged.backups.clear()
        merged.ours.backup.clear()

    def packed(merged: Merged) -> None:
        merged.own.gguf_cls = object()

    def unlike_any(merged: Merged) -> None:
        del merged.network.lora_loader.backup
        merged.ours.backup = 7

    assert changed(lambda merged: None) is not None
    for change in (other_loaded, other_model, no_backup, packed, unlike_any):
        assert changed(change) is None, change.__name__


def test_pictures_are_encoded_by_the_vae_itself(stubbed: Stubbed) -> None:
    p = stubbed.job()
    found = stubbed.adapter.posterior(p, torch.full((1, 16, 16, 3), 0.75))
    assert torch.equal(found.mean, torch.full((1, 4, 2, 2), 0.5))
    assert torch.equal(found.logvar, torch.full((1, 4, 2, 2), -0.5))
    assert stubbed.memory.load_models_gpu.call_args.args[0] == [p.sd_model.forge_objects.vae.patcher]
    latent = torch.ones(1, 4, 2, 2)
    assert torch.equal(stubbed.adapter.to_sampler(p, latent), latent * 0.5)
    assert torch.equal(stubbed.adapter.to_vae(p, latent), latent * 2)
    p.sd_model.forge_objects.vae.first_stage_model = object()
    with pytest.raises(IncompatibleHost, match="cannot encode with the selected VAE"):
        stubbed.adapter.posterior(p, torch.zeros(1, 16, 16, 3))


def test_init_pictures_go_through_us_and_nothing_stays(stubbed: Stubbed) -> None:
    p = stubbed.job()
    before = p.sd_model.forge_objects
    with stubbed.adapter.encode_with(p, lambda original, pixels: (original(pixels), pixels)):
        assert p.sd_model.forge_objects.vae.encode("pixels") == ("the host's own", "pixels")
    assert p.sd_model.forge_objects is before
    assert before.vae.encode("pixels") == "the host's own"


def test_kinds_of_checkpoints_are_told_apart(stubbed: Stubbed) -> None:
    family = stubbed.adapter.base_model
    assert family(stubbed.job()).family == "sd15"
    unet = stubbed.unet()
    p = stubbed.job(unet, text_processing_engine_l=1, text_processing_engine_g=1)
    p.sd_model.is_sdxl = True
    if stubbed.key not in BACKEND:
        unet.model = stubbed.modules["ldm_patched.modules.model_base"].SDXL()
        unet.model.diffusion_model = SimpleNamespace(in_channels=4)
    assert family(p).family == "sdxl"
    refiner = stubbed.job(text_processing_engine_g=1)
    refiner.sd_model.is_sdxl = True
    assert (family(refiner).family, "refiner" in family(refiner).title) == ("", True)
    wide = stubbed.job()
    wide.sd_model.forge_objects.vae.latent_channels = 16
    assert family(wide).family == ""
    inpainting = stubbed.job(is_inpaint=True)
    inpainting.sd_model.forge_objects.unet.model.diffusion_model.in_channels = 9
    assert family(inpainting).inpainting
    assert not family(stubbed.job()).inpainting


def test_resizing_keeps_alpha(stubbed: Stubbed) -> None:
    parameters = inspect.signature(stubbed.modules["modules.images"].resize_image).parameters

    def resize_image(mode: int, image: Image.Image, width: int, height: int, **options: Any) -> Image.Image:
        assert set(options) <= set(parameters)
        kept = image if options.get("force_RGBA") else image.convert("RGB")
        return kept.resize((width, height), Image.Resampling.NEAREST)

    stubbed.modules["modules.images"].resize_image = resize_image
    given = Image.fromarray(picture())
    found = stubbed.adapter.resize_init_image(0, given, 60, 50)
    assert np.array_equal(np.asarray(found), np.asarray(given.resize((60, 50), Image.Resampling.NEAREST)))


def test_what_replaces_attention_is_refused(stubbed: Stubbed) -> None:
    unet = stubbed.unet()
    unet.model_options["transformer_options"]["patches_replace"] = {"attn2": {("input", 1): object()}}
    with pytest.raises(UnsupportedMethod, match="replaces the model's attention"):
        stubbed.adapter.around_calls(unet, ["0"], lambda *given: None)


def test_calls_of_the_model_are_wrapped(stubbed: Stubbed) -> None:
    """Around what another extension put there before, and noticed when one after us takes the place."""
    unet = stubbed.unet()
    log: list[Any] = []

    def earlier(apply_model: Any, arguments: Any) -> Any:
        log.append("earlier")
        return apply_model(arguments["input"], arguments["timestep"], **arguments["c"])

    @contextmanager
    def around(attentions: Any, cond_or_uncond: Any, rows: int) -> Any:
        log.append((attentions, cond_or_uncond, rows))
        yield
        log.append("after")

    unet.model_options["model_function_wrapper"] = earlier
    stubbed.adapter.around_calls(unet, ["0"], around)
    wrapper = unet.set_model_unet_function_wrapper.call_args.args[0]
    stubbed.adapter.condition(stubbed.job(unet), unet, stubbed.unet(), None, 1.0, lambda: None)
    modifier = unet.add_conditioning_modifier.call_args.args[0]
    x = torch.zeros(4, 4, 2, 2)
    call = {"input": x, "timestep": 1, "cond_or_uncond": [1, 0], "c": {"transformer_options": {}}}

    def step() -> None:
        modifier(unet.model, x, torch.tensor([8.0]), None, [], 5.0, {}, 1)

    for _ in range(2):
        step()
        assert wrapper(lambda x, t, **c: x, call) is x
    attention = unet.model.diffusion_model[0]
    assert log == [([attention], [1, 0], 4), "earlier", "after"] * 2


def test_attention_is_not_shared_below_the_level_of_stop_at(stubbed: Stubbed) -> None:
    unet = stubbed.unet()
    shared: list[bool] = []

    @contextmanager
    def around(*given: Any) -> Any:
        shared.append(True)
        yield

    stubbed.adapter.around_calls(unet, ["0"], around)
    wrapper = unet.set_model_unet_function_wrapper.call_args.args[0]
    unet.model_options["model_function_wrapper"] = wrapper
    original = Merged(stubbed).ours
    p = stubbed.job(original)
    stubbed.adapter.condition(p, unet, original, None, 0.5, lambda: None)
    modifier = unet.add_conditioning_modifier.call_args.args[0]
    x = torch.zeros(2, 4, 2, 2)
    call = {"input": x, "timestep": 1, "cond_or_uncond": [1, 0], "c": {"transformer_options": {}}}
    for sigma, times in ((8.0, 1), (6.0, 1), (6.0, 1), (8.0, 2)):
        given = modifier("model", x, torch.tensor([sigma]), None, [], 5.0, unet.model_options, 1)
        assert given[0] == "model"
        assert given[6]["model_function_wrapper"](lambda x, t, **c: x, call) is x
        assert len(shared) == times


def test_a_wrapper_that_never_calls_ours_is_noticed(stubbed: Stubbed) -> None:
    unet = stubbed.unet()
    stubbed.adapter.around_calls(unet, ["0"], lambda *given: nullcontext())
    wrapper = unet.set_model_unet_function_wrapper.call_args.args[0]
    stubbed.adapter.condition(stubbed.job(unet), unet, stubbed.unet(), None, 1.0, lambda: None)
    modifier = unet.add_conditioning_modifier.call_args.args[0]
    x = torch.zeros(4, 4, 2, 2)

    def step() -> None:
        modifier(unet.model, x, torch.tensor([8.0]), None, [], 5.0, {}, 1)

    step()
    with pytest.raises(UnsupportedMethod, match="took the place"):
        step()
    call = {"input": x, "timestep": 1, "cond_or_uncond": [1, 0], "c": {"transformer_options": {}}}
    wrapper(lambda x, t, **c: x, call)
    step()


@pytest.mark.parametrize("host", [host for host in host_records.HOSTS if host not in BACKEND])
def test_errors_reach_the_page(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """These hosts run a job in a thread that prints what it raises and hands out nothing."""
    stubbed = Stubbed(host, monkeypatch)
    main_thread = stubbed.modules["modules_forge.main_thread"]
    recorded = inspect.signature(main_thread.run_and_wait_result)

    def run_and_wait_result(func: Any, *args: Any, **kwargs: Any) -> Any:
        recorded.bind(func, *args, **kwargs)
        try:
            return func(*args, **kwargs)
        except Exception:
            return None

    def job(outcome: Any) -> Any:
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    main_thread.run_and_wait_result = run_and_wait_result
    stubbed.adapter.app_started(None, None)
    stubbed.adapter.app_started(None, None)
    assert main_thread.run_and_wait_result(job, "pictures") == "pictures"
    assert main_thread.run_and_wait_result(job, ValueError("another's")) is None
    with pytest.raises(UnsupportedMethod, match="ours"):
        main_thread.run_and_wait_result(job, UnsupportedMethod("ours"))


def test_upload_keeps_alpha(stubbed: Stubbed, monkeypatch: pytest.MonkeyPatch) -> None:
    if stubbed.key in BACKEND:
        canvas = stubbed.modules["modules_forge.forge_canvas.canvas"].ForgeCanvas
        _remember_arguments(canvas)
        canvas.background = SimpleNamespace(label="background")
        found = stubbed.adapter.image_input("Foreground", "some_id")
        assert found.label == "Foreground"
    else:
        gradio = ModuleType("gradio")
        # as gradio 3.41.2 has it, as far as it matters here
        gradio.Image = lambda *, label, elem_id, source, tool, type, image_mode, height: image_mode  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "gradio", gradio)
        assert stubbed.adapter.image_input("Foreground", "some_id") == "RGBA"


def test_a_host_that_changed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    stubbed = Stubbed("neo", monkeypatch)
    for name in [name for name in sys.modules if name.startswith("lib_layerdiffusion.hosts.")]:
        if name.rpartition(".")[2] not in ("base", "capabilities"):
            monkeypatch.delitem(sys.modules, name)
    del stubbed.modules["backend.sampling.sampling_function"].sampling_prepare
    with pytest.raises(IncompatibleHost, match=r"this version of Forge Neo \(.*sampling_prepare"):
        hosts.detect()


def test_automatic1111_is_told_what_to_use(monkeypatch: pytest.MonkeyPatch) -> None:
    made = host_records.install(monkeypatch, "classic")
    for name in made:
        if name.partition(".")[0] in ("ldm_patched", "modules_forge"):
            monkeypatch.delitem(sys.modules, name)
    with pytest.raises(IncompatibleHost, match="Forge, Forge Neo, Forge Classic, reForge"):
        hosts.detect()


def test_nothing_is_imported_to_find_out(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(sys.modules):
        if name.partition(".")[0] in ("modules", "modules_forge", "backend", "ldm_patched"):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(importlib, "import_module", None)
    with pytest.raises(IncompatibleHost):
        hosts.detect()
