"""Weight patches and loading as hosts have them whose patcher follows newer ComfyUI: Forge Neo and reForge.

Both number the state of a patcher's patches by a UUID, and load again, all of it, when that changes. Both may
leave the parts of a model that do not fit on the CPU, which only their own layers can live with.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from lib_layerdiffusion.hosts.base import Unet
from lib_layerdiffusion.layer_patch import Lora, Patch

EVERYTHING = 1e32
"""More memory than a device has: hosts write "load completely" as this many bytes."""


def forms(patches: Mapping[str, Patch], lora_adapter: Callable[..., Any]) -> dict[str, Any]:
    """Write patches down: a LoRA as an object of the host's, anything else as an offset that may widen."""
    return {
        name: lora_adapter(loaded_keys=set(), weights=(patch.up, patch.down, None, None, None, None))
        if isinstance(patch, Lora)
        else ("diff", (patch.delta, {"pad_weight": True}))
        for name, patch in patches.items()
    }


def name_state(unet: Unet, before: uuid.UUID, identity: str, strength: float) -> None:
    """Number the patches of `unet` by what they are, so that the same job does not merge them again.

    `before` is the number it had before our patches, `identity` and `strength` tell what was added.
    """
    unet.patches_uuid = uuid.uuid5(before, f"{identity} {strength!r}")


def backups(unet: Unet) -> dict[str, Tensor]:
    """The model's own weights where merged ones are in their place; a patcher's clones share them."""
    return {name: kept.weight for name, kept in unet.backup.items()}


def loads_completely(patcher_class: type) -> type:
    """Return a patcher class for networks of plain layers: on the device it is there as a whole or not."""

    class CompletePatcher(patcher_class):
        def partially_load(self, device_to: Any, extra_memory: float = 0, *args: Any, **kwargs: Any) -> Any:
            return super().partially_load(device_to, EVERYTHING, *args, **kwargs)

        def partially_unload(self, *args: Any, **kwargs: Any) -> int:
            # nothing was freed, so the host takes all of it away
            return 0

    return CompletePatcher
