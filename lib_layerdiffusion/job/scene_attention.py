"""Attention sharing while a UNet runs: the attention modules' forwards are swapped around each call.

Nothing is left in the model between calls, so user LoRAs, Stop At and later generations find it as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import lcm
from typing import Any

import torch
from torch import Tensor, nn

from lib_layerdiffusion.errors import BatchSizeMismatch, UnsupportedMethod
from lib_layerdiffusion.models.attention_sharing import AttentionSharing, Merged, SharingUnit

Forward = Callable[..., Tensor]


def repeat_tokens(context: Tensor, length: int) -> Tensor:
    """Repeat [b, t, c] to `length` tokens, a multiple of t. Attention over repeated tokens is the same."""
    return context.repeat(1, length // context.shape[1], 1)


class SharedAttention:
    """One sampling pass. Merged weights and control tokens are computed at its first call and kept.

    `prompts` has for each frame None or the conditions [scenes, t, c] that replace the positive prompt's;
    `picture` [1, 3, 8h, 8w] in [0, 1] is the control picture of latents [h, w], if the network takes one;
    `signals` is filled with what the control encoder makes of it, and may be shared by passes of one size.
    """

    def __init__(
        self,
        network: AttentionSharing,
        strength: float,
        prompts: Sequence[Tensor | None],
        picture: Tensor | None,
        signals: dict[int, Tensor],
    ) -> None:
        self._network = network
        self._strength = strength
        self._prompts = list(prompts)
        self._picture = picture
        self._frames = network.units[0].frames
        self._merged: dict[int, Merged] = {}
        self._control: dict[int, list[Tensor]] = {}
        self._signals = signals

    def release(self) -> None:
        """Free what was computed; the next call would compute it again."""
        self._merged.clear()
        self._control.clear()

    @contextmanager
    def active(
        self, attentions: Sequence[nn.Module], cond_or_uncond: Sequence[int], rows: int
    ) -> Iterator[None]:
        """Within the block, `attentions` (in the order of UNIT_MODULES) attend with the layer model.

        The call's batch of `rows` rows is made of equal chunks: 0 positive, 1 negative prompt. Raises
        BatchSizeMismatch.
        """
        chunk = rows // len(cond_or_uncond)
        if chunk % self._frames:
            raise BatchSizeMismatch(
                f"LayerDiffuse got {chunk} pictures for scenes of {self._frames}; "
                f"set the batch size to 1 or a multiple of {self._frames}."
            )
        positive = [mark == 0 for mark in cond_or_uncond for _ in range(chunk // self._frames)]
        # an instance's own forward comes before its class's; another extension may have set one
        earlier = [module.__dict__.get("forward") for module in attentions]
        try:
            for n, module in enumerate(attentions):
                module.forward = self._forward(n, module, positive)
            yield
        finally:
            for module, forward in zip(attentions, earlier, strict=True):
                module.__dict__.pop("forward", None)
                if forward is not None:
                    module.forward = forward

    def _forward(self, n: int, module: nn.Module, positive: list[bool]) -> Forward:
        unit = self._network.units[n]
        attends_to_itself = n % 2 == 0

        def forward(
            x: Tensor,
            context: Tensor | None = None,
            value: Tensor | None = None,
            mask: Tensor | None = None,
            **host: Any,
        ) -> Tensor:
            if n not in self._merged:
                self._merged[n] = unit.merge(module, x, self._strength)
            control = self._control_of(n, unit, x)
            sources = None
            if context is not None:
                sources = self._sources(context, value, positive, replace=not attends_to_itself)
            return unit(x, self._merged[n], sources, control, self._strength, mask)

        return forward

    def _sources(
        self, context: Tensor, value: Tensor | None, positive: list[bool], replace: bool
    ) -> list[tuple[Tensor, Tensor]]:
        """Key and value inputs of each frame; `replace`: additional prompts take the positive rows' place."""
        sources = []
        for frame in range(self._frames):
            key = context[frame :: self._frames]
            other = key if value is None else value[frame :: self._frames]
            prompt = self._prompts[frame] if replace and frame < len(self._prompts) else None
            if prompt is not None:
                key = other = self._replaced(key, prompt.to(key), positive)
            sources.append((key, other))
        return sources

    @staticmethod
    def _replaced(context: Tensor, prompt: Tensor, positive: list[bool]) -> Tensor:
        length = lcm(context.shape[1], prompt.shape[1])
        replaced = repeat_tokens(context, length).clone()
        rows = torch.tensor(positive, device=context.device)
        scenes = len(prompt)
        # positive chunks are whole: each has every scene once, in order
        repeated = repeat_tokens(prompt, length).repeat(sum(positive) // scenes, 1, 1)
        replaced[rows] = repeated
        return replaced

    def _control_of(self, n: int, unit: SharingUnit, x: Tensor) -> list[Tensor] | None:
        if self._picture is None or self._network.kwargs_encoder is None:
            return None
        if n not in self._control:
            if not self._signals:
                self._signals.update(self._network.kwargs_encoder(self._picture.to(x)))
            signal = self._signals.get(x.shape[1])
            if signal is None:
                raise UnsupportedMethod(
                    "Another extension changes how many tokens the model sees (token merging, HyperTile, "
                    "tiles, Kohya HRFix), which the chosen LayerDiffuse method cannot follow. Switch it off."
                )
            self._control[n] = unit.control_tokens(signal.to(x))
        return self._control[n]
