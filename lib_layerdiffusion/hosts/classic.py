"""Forge Classic, and lllyasviel's Forge of early 2024 (package `ldm_patched` of that time, gradio 3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from ldm_patched.modules import model_management
from ldm_patched.modules.model_patcher import ModelPatcher
from modules import images
from modules_forge import forge_version
from PIL import Image
from torch import Tensor

from lib_layerdiffusion.hosts.base import Job, Unet
from lib_layerdiffusion.hosts.capabilities import Capabilities
from lib_layerdiffusion.hosts.ldm_patched import LdmPatchedHost

OF_THE_LOADED = ("backup", "object_patches_backup", "current_device")
"""What a patcher knows of the model it has changed."""


class ClassicHost(LdmPatchedHost):
    """Implements `hosts.base.Host`."""

    name = "Forge Classic" if forge_version.version == "classic" else "Forge of early 2024"
    capabilities = Capabilities(
        webui="Forge Classic, Forge of early 2024", tested="commits 1f95d717 and 29be1da7"
    )

    lists_in_infotext = forge_version.version == "classic"
    make_patcher = ModelPatcher

    def unet_backups(self, unet: Unet) -> Mapping[str, Tensor]:
        # each clone keeps its own; the loaded one is whose weights are in the model
        for loaded in model_management.current_loaded_models:
            if unet.is_clone(loaded.model):
                return loaded.model.backup
        return {}

    def install(self, p: Job, unet: Unet) -> None:
        # these hosts merge again for every other patcher object; so the one whose weights are in the model
        # becomes this one, if nothing would be merged otherwise
        loaded = next(
            (one.model for one in model_management.current_loaded_models if self._alike(one.model, unet)),
            None,
        )
        if loaded is not None:
            vars(loaded).update(
                {name: value for name, value in vars(unet).items() if name not in OF_THE_LOADED}
            )
            unet = loaded
        super().install(p, unet)

    def _alike(self, one: Unet, other: Unet) -> bool:
        return (
            other.is_clone(one)
            and self.mark_of(one) is not None
            and _same(one.patches, other.patches)
            and _same(one.object_patches, other.object_patches)
        )

    def is_loaded(self, unet: Unet) -> bool:
        return any(loaded.model is unet for loaded in model_management.current_loaded_models)

    def merge(self, unet: Unet, name: str, own: Tensor) -> Tensor:
        weight = own.to(torch.float32, copy=True)
        merged: Tensor = unet.calculate_weight(unet.patches[name], weight, name).to(own.dtype)
        return merged

    def forget(self, loaded: Any) -> None:
        model_management.unload_model_clones(loaded.model)

    def resize_init_image(self, mode: int, image: Image.Image, width: int, height: int) -> Image.Image:
        # these hosts fill and crop on an RGB canvas
        alpha = Image.merge("RGB", [image.getchannel("A")] * 3)
        resized = images.resize_image(mode, image.convert("RGB"), width, height)
        resized.putalpha(images.resize_image(mode, alpha, width, height).getchannel(0))
        return resized


def _same(one: Any, other: Any) -> bool:
    """True for equal containers of the same tensors and objects."""
    if isinstance(one, dict):
        return (
            isinstance(other, dict)
            and one.keys() == other.keys()
            and all(_same(one[k], other[k]) for k in one)
        )
    if isinstance(one, list | tuple):
        return (
            type(one) is type(other)
            and len(one) == len(other)
            and all(_same(a, b) for a, b in zip(one, other, strict=True))
        )
    return one is other or (isinstance(one, int | float | str) and bool(one == other))
