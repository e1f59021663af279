"""Forge Neo: as Forge, but with a patcher that follows newer ComfyUI."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from backend import memory_management
from backend.patcher.base import ModelPatcher
from backend.patcher.lora import weight_adapter
from torch import Tensor

from lib_layerdiffusion.hosts import weight_adapters
from lib_layerdiffusion.hosts.backend import BackendHost
from lib_layerdiffusion.hosts.base import Unet
from lib_layerdiffusion.hosts.capabilities import Ability, Capabilities
from lib_layerdiffusion.layer_patch import Patch


class NeoHost(BackendHost):
    """Implements `hosts.base.Host`."""

    name = "Forge Neo"
    capabilities = Capabilities(
        webui="Forge Neo",
        tested="2.26, exo101 distribution 5692d2d",
        limits={
            Ability.INFOTEXT: (
                "In Forge Neo 2.26 the web API's own `infotext` field fails before any script is asked; send "
                "the settings as arguments there."
            )
        },
    )

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
        memory_management.current_loaded_models.remove(loaded)
        loaded.model_unload()
