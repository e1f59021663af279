"""Each adapter over stubs with its host's recorded signatures: a call that the host would refuse fails."""

from __future__ import annotations

import inspect
import sys
import uuid
from types import SimpleNamespace
from typing import Any
from unittest.mock import create_autospec

import pytest
import torch

from lib_layerdiffusion import hosts
from tests.helpers import host_records

BACKEND = ("forge", "ersatz", "neo")


FORGE = ("forge", "ersatz")
"""Hosts with the loader of LoRAs that Forge had first."""

NUMBERED = ("neo", "reforge")
"""Hosts that number the state of a patcher's patches."""


VERSIONS = {
    "forge": "2.0.1v1.10.1",
    "ersatz": "f2.ersatz",
    "neo": "neo",
    "reforge": "1.0.0v2-v1.10.1RC",
    "classic": "classic",
    "early_forge": "0.0.17v1.8.0rc",
}
"""What hosts call their versions."""


class Stubbed:
    """A host of recorded signatures, and the adapter that `detect` finds on it."""

    def __init__(self, host: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.key = host
        self.modules = host_records.install(monkeypatch, host)
        for name in [name for name in sys.modules if name.startswith("lib_layerdiffusion.hosts.")]:
            if name.rpartition(".")[2] not in ("base", "capabilities", "has_vae"):
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
        self.modules["modules_forge.forge_version"].version = VERSIONS[host]
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
        unet.backup, unet.lora_patches = {}, {}
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


class Patcher(SimpleNamespace):
    """A patcher as far as an adapter looks at it when it is installed."""

    def is_clone(self, other: Any) -> bool:
        return other.model is self.model


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
