"""Forge Neo's patcher in the two forms it has had, as far as weights are concerned.

Both merge patches into the layers when the model is loaded, keep the layers' own weights, and load again when
the number of the patches changed. They differ in how a LoRA is written down that layers add while they run.
"""

from __future__ import annotations

import uuid
from collections import namedtuple
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

Kept = namedtuple("Kept", ["weight", "inplace_update"])


class Layer(nn.Linear):
    """A layer of the host, which asks functions for its weight."""

    def __init__(self, rows: int, columns: int) -> None:
        super().__init__(columns, rows, bias=False)
        self.weight = nn.Parameter(torch.zeros(rows, columns), requires_grad=False)
        self.weight_function: list[Callable[[Tensor], Tensor]] = []

    def effective(self) -> Tensor:
        weight: Tensor = self.weight
        for function in self.weight_function:
            weight = function(weight)
        return weight


def merged(patches: list[Any], weight: Tensor) -> Tensor:
    """What the host makes of a weight: LoRAs and differences, each times its strength."""
    weight = weight.clone()
    for strength, value, *_ in patches:
        if hasattr(value, "weights"):
            up, down = value.weights[:2]
            weight += strength * up @ down
        else:
            weight += strength * value[1][0]
    return weight


class Patcher:
    """What both forms have in common."""

    def __init__(
        self,
        model: Any,
        load_device: Any,
        offload_device: Any,
        size: int = 0,
        *,
        current_device: Any = None,
        weight_inplace_update: bool = False,
    ) -> None:
        self.model: Any = model
        self.load_device, self.offload_device, self.size = load_device, offload_device, size
        self.patches: dict[str, list[Any]] = {}
        self.backup: dict[str, Kept] = {}
        self.weight_wrapper_patches: dict[str, list[Callable[[Tensor], Tensor]]] = {}
        self.model_options: dict[str, Any] = {"transformer_options": {}}
        self.weight_inplace_update = weight_inplace_update
        self.patches_uuid = uuid.uuid4()
        self.pinned: set[str] = set()
        self.loads: list[float] = []
        if not hasattr(model, "current_weight_patches_uuid"):
            self.model.current_weight_patches_uuid = None
        self.began(current_device or offload_device)

    def began(self, device: Any) -> None:
        raise NotImplementedError

    def clone(self) -> Patcher:
        n = type(self)(self.model, self.load_device, self.offload_device, self.size)
        n.patches = {name: list(patches) for name, patches in self.patches.items()}
        n.weight_wrapper_patches = dict(self.weight_wrapper_patches)
        n.backup, n.pinned, n.patches_uuid = self.backup, self.pinned, self.patches_uuid
        return n

    def is_clone(self, other: Any) -> bool:
        return self.model is getattr(other, "model", None)

    def memory_required(self, input_shape: Any) -> float:
        return 0.0

    def patch_weight_to_device(
        self,
        key: str,
        device_to: Any = None,
        inplace_update: bool = False,
        return_weight: bool = False,
        force_cast: bool = False,
    ) -> Any:
        weight = self.model.get_parameter(key)
        if key not in self.patches:
            return weight
        if key not in self.backup:
            self.backup[key] = Kept(weight, False)
        self._set(key, merged(self.patches[key], weight))
        return None

    def _set(self, key: str, weight: Tensor) -> None:
        owner, _, last = key.rpartition(".")
        weight = weight if isinstance(weight, nn.Parameter) else nn.Parameter(weight, requires_grad=False)
        setattr(self.model.get_submodule(owner), last, weight)

    def unpatch_model(self, device_to: Any = None, unpatch_weights: bool = True) -> None:
        if unpatch_weights:
            for key, kept in self.backup.items():
                self._set(key, kept.weight)
            self.backup.clear()
            self.model.current_weight_patches_uuid = None

    def load(self, device_to: Any, memory: float) -> None:
        for name, layer in self.model.named_modules():
            if isinstance(layer, Layer):
                layer.weight_function = list(self.weight_wrapper_patches.get(f"{name}.weight", []))
                self.load_layer(f"{name}.weight", layer, device_to)
        self.loads.append(memory)
        self.model.current_weight_patches_uuid = self.patches_uuid

    def load_layer(self, key: str, layer: Layer, device_to: Any) -> None:
        self.patch_weight_to_device(key, device_to)

    def add_patches(
        self,
        patches: Any,
        strength_patch: float = 1.0,
        strength_model: float = 1.0,
        *,
        filename: str | None = None,
        online_mode: bool | None = None,
    ) -> list[str]:
        raise NotImplementedError

    def partially_load(
        self, device_to: Any, extra_memory: float = 0, force_patch_weights: bool = False
    ) -> int:
        raise NotImplementedError

    def partially_unload(
        self, device_to: Any, memory_to_free: int = 0, force_patch_weights: bool = False
    ) -> int:
        return memory_to_free

    def __del__(self) -> None:
        # as hosts do, though clones share it
        self.pinned.clear()


class Neo226(Patcher):
    """An entry of the patches says whether its layer adds it, and with it all others, while it runs."""

    def began(self, device: Any) -> None:
        self.model.device = device

    @property
    def current_device(self) -> Any:
        return self.model.device

    def add_patches(
        self,
        patches: Any,
        strength_patch: float = 1.0,
        strength_model: float = 1.0,
        *,
        filename: str | None = None,
        online_mode: bool | None = None,
    ) -> list[str]:
        for name, value in patches.items():
            entry = (strength_patch, value, strength_model, None, None, online_mode)
            self.patches.setdefault(name, []).append(entry)
        self.patches_uuid = uuid.uuid4()
        return list(patches)

    def load_layer(self, key: str, layer: Layer, device_to: Any) -> None:
        patches = self.patches.get(key, [])
        if any(patch[-1] for patch in patches):
            layer.weight_function = [lambda weight: merged(patches, weight)]
        else:
            super().load_layer(key, layer, device_to)

    def partially_load(
        self, device_to: Any, extra_memory: float = 0, force_patch_weights: bool = False
    ) -> int:
        if self.model.current_weight_patches_uuid == self.patches_uuid:
            return 0
        self.unpatch_model(self.offload_device, unpatch_weights=True)
        self.load(device_to, extra_memory)
        self.model.device = device_to
        return 1


class LaterNeo(Patcher):
    """Such LoRAs are functions beside the patches, which are five values; the device is the patcher's."""

    def began(self, device: Any) -> None:
        self.current_device = device

    def add_patches(
        self,
        patches: Any,
        strength_patch: float = 1.0,
        strength_model: float = 1.0,
        *,
        filename: str | None = None,
        online_mode: bool | None = None,
    ) -> list[str]:
        for name, value in patches.items():
            entry = (strength_patch, value, strength_model, None, None)
            if online_mode:
                added = OnlineLoRAPatch(str(filename), name, entry)
                self.weight_wrapper_patches[name] = [*self.weight_wrapper_patches.get(name, []), added]
            else:
                self.patches.setdefault(name, []).append(entry)
        self.patches_uuid = uuid.uuid4()
        return list(patches)

    def unpatch_model(self, device_to: Any = None, unpatch_weights: bool = True) -> None:
        assert device_to is None or unpatch_weights
        super().unpatch_model(device_to, unpatch_weights)

    def partially_load(
        self, device_to: Any, extra_memory: float = 0, force_patch_weights: bool = False
    ) -> int:
        again = self.model.current_weight_patches_uuid not in (None, self.patches_uuid)
        self.unpatch_model(unpatch_weights=again)
        if self.model.current_weight_patches_uuid == self.patches_uuid:
            return 0
        self.load(device_to, extra_memory)
        self.current_device = device_to
        return 1

    def cleanup(self) -> None:
        self.model.current_patcher = None


class OnlineLoRAPatch:
    """A LoRA that a layer adds while it runs."""

    def __init__(self, name: str, key: str, patch: Any) -> None:
        self.name, self.key, self.patch = name, key, [patch]

    def __call__(self, weight: Tensor) -> Tensor:
        return merged(self.patch, weight)


FORMS = {"2.26": Neo226, "later": LaterNeo}
