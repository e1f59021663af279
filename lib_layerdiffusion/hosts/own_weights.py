"""A model's own weights beside the merged ones, put in their place for single calls of the model.

Stop At ends the layer model's part in the middle of sampling. To load the unpatched model there would have
the host take back every merged weight, and merge all of them again for the next picture. So the merged ones
stay: around each call of the model the layers' own parameters are swapped in, by reference. Nothing is
copied or computed that the host keeps anyway.

In the same way a run of several jobs goes from one layer file to another: what was merged of each is kept,
and worn in the place of what is merged at present.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from lib_layerdiffusion.hosts.base import Unet

logger = logging.getLogger("layerdiffuse")

Call = Callable[[Callable[..., Tensor], dict[str, Any]], Tensor]
"""A host's function around the calls of its model: (apply_model, arguments) -> what the model predicts."""


class OwnWeights:
    """Weights of `network` by name, of which those merged at present are the counterparts."""

    def __init__(self, network: nn.Module, weights: Mapping[str, Tensor]) -> None:
        self._places: list[tuple[dict[str, Any], str, nn.Parameter]] = []
        for name, weight in weights.items():
            owner, _, last = name.rpartition(".")
            # a host's restored weights are what its own parameters are, subclasses included
            own = weight if isinstance(weight, nn.Parameter) else nn.Parameter(weight, requires_grad=False)
            self._places.append((network.get_submodule(owner)._parameters, last, own))

    def __len__(self) -> int:
        return len(self._places)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Within the block they are the network's parameters; after it, in every case, the merged ones."""
        merged = [parameters[name] for parameters, name, _ in self._places]
        try:
            for n, (parameters, name, own) in enumerate(self._places):
                if own.device != merged[n].device:
                    # the host has moved the layer since
                    own = nn.Parameter(own.to(merged[n].device), requires_grad=False)
                    self._places[n] = parameters, name, own
                parameters[name] = own
            yield
        finally:
            for (parameters, name, _), weight in zip(self._places, merged, strict=True):
                parameters[name] = weight

    def around(self, inner: Call | None) -> Call:
        """Return a function for the host to call its model by, around the one that is there, if any."""

        def call(apply_model: Callable[..., Tensor], arguments: dict[str, Any]) -> Tensor:
            with self.in_place():
                if inner is not None:
                    return inner(apply_model, arguments)
                return apply_model(arguments["input"], arguments["timestep"], **arguments["c"])

        return call


@dataclass(frozen=True, eq=False)
class Kept:
    """What a host merged: weights of `network` by name, and the patches of the model below, by parameter."""

    network: nn.Module
    weights: Mapping[str, Tensor]
    below: Mapping[str, Sequence[Any]]
    sample: Tensor

    def bare(self) -> Kept:
        """Return what has the model compute as without any of it."""
        return replace(self, weights={}, sample=torch.empty(0))

    @staticmethod
    def sample_of(weights: Mapping[str, Tensor]) -> Tensor:
        """A value of each weight: hosts may take patches back within the very weights that they merged."""
        middles = [weight.detach().flatten()[weight.numel() // 2] for weight in weights.values()]
        return torch.stack([middle.float().cpu() for middle in middles])


class KeepsOwnWeights:
    """The part of an adapter that finds them: what two patchers of one model differ in, and its backups."""

    memory: Any

    def unet_backups(self, unet: Unet) -> Mapping[str, Tensor]:
        """The model's own weights, by name, where a merged one is in their place at present."""
        raise NotImplementedError

    def is_loaded(self, unet: Unet) -> bool:
        """True if the weights in the model are those of this patcher."""
        raise NotImplementedError

    def merged_patches(self, unet: Unet) -> Mapping[str, Sequence[Any]]:
        """The patches of each parameter, in the order in which the host merges them."""
        return unet.patches

    def merge(self, unet: Unet, name: str, own: Tensor) -> Tensor:
        """What the host makes of a model's own weight, on its device, when it merges a patcher's patches."""
        raise NotImplementedError

    def is_packed(self, weight: Tensor) -> bool:
        """True for a quantized weight whose shape is not the layer's."""
        return hasattr(weight, "bnb_quantized") or getattr(weight, "gguf_cls", None) is not None

    def own_weights(self, unet: Unet, original: Unet, x: Tensor) -> OwnWeights | None:
        """Return what makes the model compute as `original` while `unet` is loaded, for latents like x.

        None where that needs more memory than is free, or where the host has something else in the places.
        """
        try:
            own = self._own_weights(unet, original, x)
        # hosts change; the plain way needs none of this
        except Exception as error:
            logger.debug("Stop At takes the plain way", exc_info=error)
            return None
        return None if own is None else OwnWeights(unet.model, own)

    def keep_merged(self, unet: Unet, original: Unet, x: Tensor) -> Kept | None:
        """Return what the host has merged of `unet` beyond `original`, for latents like x.

        None where that is not in the model, or where it would leave too little memory.
        """
        try:
            if unet.model is not original.model or not self.is_loaded(unet):
                return None
            present, below = self.merged_patches(unet), self.merged_patches(original)
            names = [name for name in present if not _same(present[name], below.get(name, ()))]
            weights = {name: unet.model.get_parameter(name) for name in names}
            if any(self.is_packed(weight) for weight in weights.values()):
                return None
            device = next(iter(weights.values())).device
            size = sum(weight.nbytes for weight in weights.values())
            # those merged next come beside them
            if 2 * size + self._needed(unet, x) > self.memory.get_free_memory(device):
                return None
            return Kept(unet.model, weights, dict(below), Kept.sample_of(weights))
        except Exception as error:
            logger.debug("What was merged is not kept", exc_info=error)
            return None

    def can_wear(self, kept: Kept, original: Unet) -> bool:
        """True if `kept` was merged into this very model, with the same patches below."""
        below = self.merged_patches(original)
        return (
            kept.network is original.model
            and all(_same(kept.below.get(name, ()), below.get(name, ())) for name in {**kept.below, **below})
            and torch.equal(kept.sample, Kept.sample_of(kept.weights))
        )

    def worn_weights(self, unet: Unet, original: Unet, kept: Kept, x: Tensor) -> OwnWeights | None:
        """Return what makes the model compute as when `kept` was merged, while `unet` is loaded.

        None in the same cases as of `own_weights`.
        """
        try:
            own = self._own_weights(unet, original, x)
        except Exception as error:
            logger.debug("What was merged is not worn", exc_info=error)
            return None
        return None if own is None else OwnWeights(unet.model, {**own, **kept.weights})

    def _own_weights(self, unet: Unet, original: Unet, x: Tensor) -> dict[str, Tensor] | None:
        if unet.model is not original.model or not self.is_loaded(unet):
            return None
        present, wanted = self.merged_patches(unet), self.merged_patches(original)
        backups = self.unet_backups(unet)
        merged = {
            name: unet.model.get_parameter(name)
            for name in {**present, **wanted}
            if not _same(present.get(name, ()), wanted.get(name, ()))
        }
        if any(name not in backups or self.is_packed(backups[name]) for name in merged):
            return None
        missing = sum(
            backups[name].nbytes
            for name, weight in merged.items()
            if name in wanted or backups[name].device != weight.device
        )
        if missing and missing + self._needed(unet, x) > self.memory.get_free_memory(x.device):
            return None
        own: dict[str, Tensor] = {}
        for name, weight in merged.items():
            own[name] = backups[name].to(weight.device)
            if name in wanted:
                own[name] = self.merge(original, name, own[name])
        return own

    @staticmethod
    def _needed(unet: Unet, x: Tensor) -> float:
        """Bytes that the host estimates for an evaluation, positive and negative prompt at once."""
        estimate = unet.model_options.get("memory_peak_estimation_modifier", unet.memory_required)
        return float(estimate([2 * x.shape[0], *x.shape[1:]]))


def _same(some: Sequence[Any], others: Sequence[Any]) -> bool:
    """True for the same patches: clones of a patcher share them."""
    return len(some) == len(others) and all(a is b for a, b in zip(some, others, strict=True))
