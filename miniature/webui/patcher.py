"""A model patcher as hosts have them: clones share one network, weights are merged when sampling starts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from lib_layerdiffusion.files.layer_patch import Patch, merge
from lib_layerdiffusion.hosts.base import Around
from lib_layerdiffusion.hosts.own_weights import OwnWeights

PREFIX = "diffusion_model."


@dataclass
class StepRule:
    """Below `sigma_end` the weights of `original`; above, `concat` [1, 4n, h, w] joins the input, and the
    weights are those of `worn` where there are any."""

    original: Patcher
    sigma_end: float
    concat: Tensor | None
    seen: Callable[[], None] = lambda: None
    own: OwnWeights | None = None
    worn: Mapping[str, Tensor] | None = None
    dress: OwnWeights | None = None

    def release(self) -> None:
        self.own = self.dress = None


class SharedNetwork:
    """The network of a patcher and all its clones, with the weights that merging replaced.

    Patches are merged again only when they are others, by name and strength. `merges` counts how often, and
    `merged_bytes` how much was written.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        self.parameters = {PREFIX + name: parameter for name, parameter in network.named_parameters()}
        self.merges = self.merged_bytes = 0
        self._original: dict[str, Tensor] = {}
        self._merged: list[tuple[str, float]] = []

    def merge(self, patcher: Patcher) -> None:
        """Make the weights those of `patcher`."""
        if self._merged == patcher.key():
            return
        for name, weight in self._original.items():
            self.parameters[name].data = weight
        self._original = {}
        self._merged = patcher.key()
        for name, patches in patcher.patches_by_name().items():
            weight = self.parameters[name].data
            self._original[name] = weight
            self.parameters[name].data = merge(weight, patches)
            self.merged_bytes += self.parameters[name].nbytes
            self.merges += 1

    def own_weights(
        self, present: Patcher, wanted: Patcher, worn: Mapping[str, Tensor] | None = None
    ) -> OwnWeights:
        """What has the network compute as `wanted`, with `worn` beside, while the weights are `present`'s."""
        patches = wanted.patches_by_name()
        own = {
            name: merge(self._original[name], patches[name]) if name in patches else self._original[name]
            for name in {**present.patches_by_name(), **patches}
        }
        own |= worn or {}
        return OwnWeights(self.network, {name.removeprefix(PREFIX): weight for name, weight in own.items()})

    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {n: tuple(self._original.get(n, p).shape) for n, p in self.parameters.items()}


@dataclass
class Patcher:
    """What will be done to the network; `mark` is a note for whoever made the patcher.

    `patches` are (name of the content, strength, patch by parameter), in the order they are merged in.
    """

    shared: SharedNetwork
    patches: list[tuple[str, float, Mapping[str, Patch]]] = field(default_factory=list)
    mark: str | None = None
    rule: StepRule | None = None
    error: Exception | None = None
    around: tuple[list[nn.Module], Around] | None = None
    attention_replaced: bool = False

    def clone(self) -> Patcher:
        return replace(self, patches=list(self.patches))

    def key(self) -> list[tuple[str, float]]:
        return [(content, strength) for content, strength, _ in self.patches]

    def patches_by_name(self) -> dict[str, list[tuple[Patch, float]]]:
        found: dict[str, list[tuple[Patch, float]]] = {}
        for _, strength, patches in self.patches:
            for name, patch in patches.items():
                if name in self.shared.parameters:
                    found.setdefault(name, []).append((patch, strength))
        return found

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
        self.shared.merge(self)
        around: AbstractContextManager[None] = nullcontext()
        if self.rule is not None:
            self.rule.seen()
        if self.rule is not None and float(sigma.max()) < self.rule.sigma_end:
            if self.rule.own is None:
                self.rule.own = self.shared.own_weights(self, self.rule.original)
            around = self.rule.own.in_place()
        else:
            if self.rule is not None and self.rule.concat is not None:
                x = torch.cat([x, self.rule.concat.expand(len(x), -1, -1, -1)], dim=1)
            if self.rule is not None and self.rule.worn is not None:
                rule = self.rule
                rule.dress = rule.dress or self.shared.own_weights(self, rule.original, rule.worn)
                around = rule.dress.in_place()
            if self.around is not None:
                around = self.around[1](self.around[0], cond_or_uncond, len(x))
        with around:
            noise: Tensor = self.shared.network(x, timestep, context, vector)
        return noise
