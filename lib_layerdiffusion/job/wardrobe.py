"""What a run of several jobs has merged of its layer files, so that none of them is merged twice.

The steps of a stack go back and forth between two or three files. What was merged first stays in the model;
what was merged of the others is kept, and worn where it is wanted.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lib_layerdiffusion.files.layer_patch import Patch
from lib_layerdiffusion.hosts.base import Host, Job, Unet, Worn

_WARDROBE = "layerdiffuse_wardrobe"

Key = tuple[str, float]
"""The content of a layer file, and the Weight that it was merged with."""


@dataclass(frozen=True)
class Merged:
    """A layer file as it is merged: its key, and its patches for the host to merge again if it must."""

    key: Key
    patches: Mapping[str, Patch]


@dataclass
class Wardrobe:
    """`loaded` is what the host has merged at present, `kept` what it has merged of each file, to be worn."""

    loaded: Merged | None = None
    kept: dict[Key, Any] = field(default_factory=dict)

    def find(self, host: Host, key: Key, original: Unet) -> Any:
        """Return what is to be worn to sample as if `key` were merged; None where it must be, or is."""
        kept = self.kept.get(key)
        if self.loaded is None or self.loaded.key == key or kept is None:
            return None
        current = self.kept.get(self.loaded.key)
        fits = current is not None and host.can_wear(current, original)
        return kept if fits and host.can_wear(kept, original) else None


def dress_plain(host: Host, p: Job) -> None:
    """Have a step without a method compute as the model alone, without taking back what is merged."""
    used = of(p)
    original = host.unet(p)
    if used is None or used.loaded is None or host.mark_of(original) is not None:
        return
    kept = used.kept.get(used.loaded.key)
    if kept is None or not host.can_wear(kept, original):
        return
    identity, weight = used.loaded.key
    unet = host.clone(original)
    host.patch_weights(unet, identity, used.loaded.patches, weight)
    host.condition(p, unet, original, None, 1.0, lambda: None, Worn(kept.bare(), original))
    host.install(p, unet)


def put(p: Job, wardrobe: Wardrobe) -> None:
    """Have this very job use a wardrobe; copies of it do not."""
    setattr(p, _WARDROBE, (weakref.ref(p), wardrobe))


def of(p: Job) -> Wardrobe | None:
    """Return the wardrobe of this very job, if it has one."""
    owner, wardrobe = getattr(p, _WARDROBE, (None, None))
    return wardrobe if owner is not None and owner() is p else None
