"""ersatzForge: Forge's main line, carried on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from backend import memory_management
from modules.processing import create_infotext

from lib_layerdiffusion.files.layer_patch import Patch
from lib_layerdiffusion.hosts import early_infotexts
from lib_layerdiffusion.hosts.base import Job, Unet
from lib_layerdiffusion.hosts.capabilities import Capabilities
from lib_layerdiffusion.hosts.forge import ForgeHost


class ErsatzHost(ForgeHost):
    """Implements `hosts.base.Host`."""

    name = "ersatzForge"
    capabilities = Capabilities(webui="ersatzForge", tested="f2.ersatz, commit fca12a2")

    def patch_weights(self, unet: Unet, identity: str, patches: Mapping[str, Patch], strength: float) -> int:
        count = super().patch_weights(unet, identity, patches, strength)
        # The host compares these with what is loaded, and by value where they are not the same objects, which
        # tensors refuse. What has the same name has the same content.
        for loaded in memory_management.current_loaded_models:
            if loaded.model.model is unet.model:
                present = loaded.model.lora_patches
                unet.lora_patches |= {
                    key: present[key] for key in unet.lora_patches if key[0] == identity and key in present
                }
        return count

    def early_infotext(self, p: Job) -> str | None:
        index = int(p.iteration * p.batch_size + p.batch_index)
        lists = p.all_prompts, p.all_seeds, p.all_subseeds
        text = create_infotext(p, *lists, index=index, all_negative_prompts=p.all_negative_prompts)
        return str(text)

    def before_image_saved(self, params: Any) -> None:
        early_infotexts.before_image_saved(params)
        super().before_image_saved(params)
