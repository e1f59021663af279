"""Weight patches and loading as hosts have them whose patcher follows newer ComfyUI: Forge Neo and reForge.

Both number the state of a patcher's patches by a UUID, and load again, all of it, when that changes. Both may
leave the parts of a model that do not fit on the CPU, which only their own layers can live with.
"""

from __future__ import annotations

import copy
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from lib_layerdiffusion.files.layer_patch import Lora, Patch
from lib_layerdiffusion.hosts.base import Unet
from lib_layerdiffusion.hosts.own_weights import OwnWeights
from lib_layerdiffusion.hosts.webui import WebuiHost

EVERYTHING = 1e32
"""More memory than a device has: hosts write "load completely" as this many bytes."""


def adapted(lora_adapter: Callable[..., Any], patches: Mapping[str, Patch]) -> dict[str, Any]:
    """Write weight patches down as a host takes them whose LoRAs are objects of a class of its own."""
    return {
        name: lora_adapter(loaded_keys=set(), weights=(patch.up, patch.down, None, None, None, None))
        if isinstance(patch, Lora)
        # it may widen the first convolution
        else ("diff", (patch.delta, {"pad_weight": True}))
        for name, patch in patches.items()
    }


class WeightAdapters(WebuiHost):
    """Mix it in before the class of the host's package."""

    lora_adapter: Callable[..., Any]
    """The host's class of a LoRA."""

    def unet_backups(self, unet: Unet) -> Mapping[str, Tensor]:
        # a patcher's clones share them
        return {name: kept.weight for name, kept in unet.backup.items()}

    def is_loaded(self, unet: Unet) -> bool:
        return bool(unet.model.current_weight_patches_uuid == unet.patches_uuid)

    def merge(self, unet: Unet, name: str, own: Tensor) -> Tensor:
        # their own function, which also rounds, reads and writes the model itself
        scratch = copy.copy(unet)
        scratch.backup, scratch.weight_inplace_update = {}, False
        # a patcher that goes gives up all the memory that its model pinned
        scratch.pinned = set()
        weights = OwnWeights(unet.model, {name: own})
        with weights.in_place():
            scratch.patch_weight_to_device(name, device_to=own.device)
            merged: Tensor = unet.model.get_parameter(name)
        return merged

    def weight_patches(self, patches: Mapping[str, Patch]) -> dict[str, Any]:
        return adapted(self.lora_adapter, patches)

    def patch_weights(self, unet: Unet, identity: str, patches: Mapping[str, Patch], strength: float) -> int:
        before = unet.patches_uuid
        matched = super().patch_weights(unet, identity, patches, strength)
        # numbered by what they are, so that the same job does not merge them again
        unet.patches_uuid = uuid.uuid5(before, f"{identity} {strength!r}")
        return matched

    def forget(self, loaded: Any) -> None:
        self.memory.current_loaded_models.remove(loaded)
        loaded.model_unload()


def loads_completely(patcher_class: type) -> type:
    """Return a patcher class for networks of plain layers: on the device it is there as a whole or not."""

    class CompletePatcher(patcher_class):
        def partially_load(self, device_to: Any, extra_memory: float = 0, *args: Any, **kwargs: Any) -> Any:
            return super().partially_load(device_to, EVERYTHING, *args, **kwargs)

        def partially_unload(self, *args: Any, **kwargs: Any) -> int:
            # nothing was freed, so the host takes all of it away
            return 0

    return CompletePatcher
