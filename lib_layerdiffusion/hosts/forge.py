"""Stable Diffusion WebUI Forge, current main."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from backend import memory_management
from backend.patcher import lora
from backend.patcher.base import ModelPatcher
from torch import Tensor, nn

from lib_layerdiffusion.files.layer_patch import Patch
from lib_layerdiffusion.hosts.backend import BackendHost
from lib_layerdiffusion.hosts.base import Unet
from lib_layerdiffusion.hosts.capabilities import Ability, Capabilities
from lib_layerdiffusion.hosts.weight_adapters import adapted


class ForgeHost(BackendHost):
    """Implements `hosts.base.Host`."""

    name = "Forge"
    capabilities = Capabilities(
        webui="Forge (main)",
        tested="2.0.1v1.10.1, commit dfdcbab6",
        limits={
            Ability.INFOTEXT: (
                "In Forge main the web API's own `infotext` field fails with any text, before any script is "
                'asked, unless the request has `"styles": []` too; or send the settings as arguments.'
            )
        },
    )

    make_patcher = ModelPatcher

    def unet_backups(self, unet: Unet) -> Mapping[str, Tensor]:
        return unet.model.lora_loader.backup

    def is_loaded(self, unet: Unet) -> bool:
        # this is how the host itself finds out
        return bool(unet.model.lora_loader.loaded_hash == str(list(unet.lora_patches)))

    def merged_patches(self, unet: Unet) -> Mapping[str, Sequence[Any]]:
        found: dict[str, list[Any]] = {}
        for (_, _, _, while_running), patches in unet.lora_patches.items():
            for name, added in () if while_running else patches.items():
                found[name] = [*found.get(name, []), *added]
        return found

    def merge(self, unet: Unet, name: str, own: Tensor) -> Tensor:
        return lora.merge_lora_to_weight(
            self.merged_patches(unet)[name], own, name, computation_dtype=torch.float32
        )

    def weight_patches(self, patches: Mapping[str, Patch]) -> dict[str, Any]:
        # Neo had this loader yet when it merged as ComfyUI does, which passes over Forge's form of a LoRA
        adapters = getattr(lora, "weight_adapter", None)
        return super().weight_patches(patches) if adapters is None else adapted(adapters.LoRAAdapter, patches)

    def patch_weights(self, unet: Unet, identity: str, patches: Mapping[str, Patch], strength: float) -> int:
        # the host merges again only when name or strength change, so the name must tell the content
        forms = self.weight_patches(patches)
        return len(unet.add_patches(filename=identity, patches=forms, strength_patch=float(strength)))

    def forget(self, loaded: Any) -> None:
        memory_management.unload_model_clones(loaded.model)

    def release(self, network: nn.Module) -> None:
        super().release(network)
        # a patcher leaves a loader at the network that refers back to it, so only a garbage collection would
        # free hundreds of megabytes
        network.__dict__.pop("lora_loader", None)
