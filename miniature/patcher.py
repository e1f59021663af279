"""A model patcher as hosts have them: clones share one network, weights are merged when sampling starts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from lib_layerdiffusion.hosts.base import Around
from lib_layerdiffusion.layer_patch import Patch, merge

PREFIX = "diffusion_model."


@dataclass(frozen=True)
class StepRule:
    """Below `sigma_end` the patcher `original` samples; above, `concat` [1, 4n, h, w] joins the input."""

    original: Patcher
    sigma_end: float
    concat: Tensor | None
    seen: Callable[[], None] = lambda: None


class SharedNetwork:
    """The network of a patcher and all its clones, with the weights that merging replaced."""

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        self.parameters = {PREFIX + name: parameter for name, parameter in network.named_parameters()}
        self._original: dict[str, Tensor] = {}
        self._merged: Patcher | None = None

    def merge(self, patcher: Patcher) -> None:
        """Make the weights those of `patcher`."""
        if self._merged is patcher:
            return
        for name, weight in self._original.items():
            self.parameters[name].data = weight
        self._original = {}
        self._merged = patcher
        for strength, patches in patcher.patches:
            for name, patch in patches.items():
                if name in self.parameters:
                    weight = self.parameters[name].data
                    self._original.setdefault(name, weight)
                    self.parameters[name].data = merge(weight, [(patch, strength)])

    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {n: tuple(self._original.get(n, p).shape) for n, p in self.parameters.items()}


@dataclass
class Patcher:
    """What will be done to the network; `marks` are notes for whoever made the patcher."""

    shared: SharedNetwork
    patches: list[tuple[float, Mapping[str, Patch]]] = field(default_factory=list)
    marks: set[str] = field(default_factory=set)
    rule: StepRule | None = None
    error: Exception | None = None
    around: tuple[list[nn.Module], Around] | None = None
    attention_replaced: bool = False

    def clone(self) -> Patcher:
        return replace(self, patches=list(self.patches), marks=set(self.marks))

    @torch.inference_mode()
    def evaluate(
        self,
        x: Tensor,
        sigma: Tensor,
        timestep: Tensor,
        context: Tensor,
        vector: Tensor,
        cond_or_uncond: list[int],
    ) -> Tensor:
        """Predict the noise in x [B, 4, h, w], already scaled for the network, sigma and timestep [B].

        The batch is made of equal chunks, 0 with the positive and 1 with the negative prompt.
        """
        if self.error is not None:
            raise self.error
        active = self
        if self.rule is not None:
            self.rule.seen()
            if float(sigma.max()) < self.rule.sigma_end:
                active = self.rule.original
            elif self.rule.concat is not None:
                x = torch.cat([x, self.rule.concat.expand(len(x), -1, -1, -1)], dim=1)
        active.shared.merge(active)
        around = (
            nullcontext()
            if active.around is None
            else active.around[1](active.around[0], cond_or_uncond, len(x))
        )
        with around:
            noise: Tensor = active.shared.network(x, timestep, context, vector)
        return noise
