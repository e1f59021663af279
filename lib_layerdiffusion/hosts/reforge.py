"""reForge (package `ldm_patched` of 2025, gradio 3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ldm_patched.modules import model_management, weight_adapter
from ldm_patched.modules.model_patcher import ModelPatcher
from torch import Tensor

from lib_layerdiffusion.hosts import weight_adapters
from lib_layerdiffusion.hosts.base import Unet
from lib_layerdiffusion.hosts.capabilities import Capabilities
from lib_layerdiffusion.hosts.ldm_patched import LdmPatchedHost
from lib_layerdiffusion.layer_patch import Patch


class ReforgeHost(LdmPatchedHost):
    """Implements `hosts.base.Host`."""

    name = "reForge"
    capabilities = Capabilities(webui="reForge", tested="1.0.0v2-v1.10.1RC, commit 3b56b268")

    api_answers_extra_images = False
    make_patcher = weight_adapters.loads_completely(ModelPatcher)

    def unet_backups(self, unet: Unet) -> Mapping[str, Tensor]:
        return weight_adapters.backups(unet)

    def weight_patches(self, patches: Mapping[str, Patch]) -> dict[str, Any]:
        return weight_adapters.forms(patches, weight_adapter.LoRAAdapter)

    def patch_weights(self, unet: Unet, identity: str, patches: Mapping[str, Patch], strength: float) -> int:
        before = unet.patches_uuid
        matched = super().patch_weights(unet, identity, patches, strength)
        weight_adapters.name_state(unet, before, identity, strength)
        return matched

    def forget(self, loaded: Any) -> None:
        model_management.current_loaded_models.remove(loaded)
        loaded.model_unload()
