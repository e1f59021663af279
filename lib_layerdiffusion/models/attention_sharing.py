"""The SD1.5 layer models: LoRA per frame, attention across frames, and an encoder for a control picture.

Each of the UNet's 32 attention modules is accompanied by a unit. Units, keys and formulas are those of
the released files; widths are read from a file's shapes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

HEADS = 8
PROJECTIONS = ("q", "k", "v", "out")
CONTROL_STAGES = 4

MOST_ROWS = 65_535
"""Matrices that one batched product may have on a GPU: more fail with "invalid configuration argument"."""

_BLOCKS = (
    *(f"input_blocks.{n}.1" for n in (1, 2, 4, 5, 7, 8)),
    *(f"output_blocks.{n}.1" for n in range(3, 12)),
    "middle_block.1",
)
UNIT_MODULES: tuple[str, ...] = tuple(
    f"{block}.transformer_blocks.0.{attention}" for block in _BLOCKS for attention in ("attn1", "attn2")
)
"""The attention module of each unit, inside the diffusion model; even ones attend to themselves."""


class LoraPair(nn.Module):
    """Two factors of a weight offset: up [out, rank] @ down [rank, in]."""

    def __init__(self, in_features: int, out_features: int, rank: int) -> None:
        super().__init__()
        self.down = nn.Linear(in_features, rank, bias=False)
        self.up = nn.Linear(rank, out_features, bias=False)

    def offset(self) -> Tensor:
        """float32 [out, in]."""
        return self.up.weight.float() @ self.down.weight.float()


@dataclass(frozen=True)
class Projections:
    """The weights one frame attends with: q, k, v, out [out, in] and the out projection's bias."""

    q: Tensor
    k: Tensor
    v: Tensor
    out: Tensor
    bias: Tensor


@dataclass(frozen=True)
class Folded:
    """The linear layers that come before the attention across frames, as one.

    Nothing but linear layers lies between normalised tokens and queries, keys and values: one product with
    q, k, v below each other, weight [3 * hidden, hidden], does for both. A single frame attends to itself
    alone, so that one product [hidden, hidden] does for everything.
    """

    weight: Tensor
    bias: Tensor


@dataclass(frozen=True)
class Merged:
    """What a unit computes with in one sampling: each frame's projections, and the part across frames."""

    frames: list[Projections]
    across: Folded


def linear_weight(layer: nn.Module, in_features: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Return weight [out, in] and bias [out] of a linear layer, float32, by calling it.

    A host's layer may hold its weight quantized, in another dtype, on another device, or add a LoRA while it
    runs; what it does to the unit vectors is the weight in every case, rounded to `like`'s dtype once.
    """
    bias = layer(like.new_zeros(1, in_features)).float()
    weight = layer(torch.eye(in_features, device=like.device, dtype=like.dtype)).float() - bias
    return weight.T, bias[0]


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """Multi-head attention of q [b, n, c] over k, v [b, m, c]."""
    q, k, v = (t.unflatten(-1, (HEADS, -1)).transpose(1, 2) for t in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(2)


def _attend_plainly(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention of q over k, v, all [rows, f, d]: a product of `rows` matrices, and one more."""
    scores = (q @ k.transpose(-1, -2)) * q.shape[-1] ** -0.5
    return scores.softmax(-1) @ v


class SharingUnit(nn.Module):
    """What is added to one attention module so that the frames of a scene know of each other.

    Batches are `(b f)`: the frames of a scene are neighbours.
    """

    def __init__(self, frames: int, hidden: int, context: int, rank: int, control: int | None) -> None:
        super().__init__()
        self.frames = frames
        self.hidden = hidden
        self.context = context
        for name in PROJECTIONS:
            in_features = context if name in ("k", "v") else hidden
            pairs = nn.ModuleList([LoraPair(in_features, hidden, rank) for _ in range(frames)])
            setattr(self, f"to_{name}_lora", pairs)
        self.temporal_n = nn.LayerNorm(hidden, eps=1e-6)
        self.temporal_i = nn.Linear(hidden, hidden)
        self.temporal_q = nn.Linear(hidden, hidden)
        self.temporal_k = nn.Linear(hidden, hidden)
        self.temporal_v = nn.Linear(hidden, hidden)
        self.temporal_o = nn.Linear(hidden, hidden)
        if control is not None:
            self.control_convs = nn.ModuleList(
                [
                    nn.Sequential(
                        nn.Conv2d(control, control, 3, padding=1), nn.SiLU(), nn.Conv2d(control, hidden, 1)
                    )
                    for _ in range(frames)
                ]
            )

    def merge(self, attention: Any, like: Tensor, strength: float) -> Merged:
        """Return what the unit computes with, in `like`'s dtype.

        Each frame's weights are those of `attention`, which has to_q, to_k, to_v and to_out[0], plus
        strength * up @ down.
        """
        return Merged(self._project(attention, like, strength), self._fold(like))

    def _fold(self, like: Tensor) -> Folded:
        layers = (
            (self.temporal_q, self.temporal_k, self.temporal_v) if self.frames > 1 else (self.temporal_v,)
        )
        weight = torch.cat([layer.weight.float() for layer in layers])
        bias = torch.cat([layer.bias.float() for layer in layers])
        bias = bias + weight @ self.temporal_i.bias.float()
        weight = weight @ self.temporal_i.weight.float()
        if self.frames == 1:
            last = self.temporal_o.weight.float()
            weight, bias = last @ weight, last @ bias + self.temporal_o.bias.float()
        return Folded(weight.to(like.dtype), bias.to(like.dtype))

    def _project(self, attention: Any, like: Tensor, strength: float) -> list[Projections]:
        layers = {"q": attention.to_q, "k": attention.to_k, "v": attention.to_v, "out": attention.to_out[0]}
        base: dict[str, Tensor] = {}
        bias = like.new_zeros(())
        for name, layer in layers.items():
            in_features = self.context if name in ("k", "v") else self.hidden
            base[name], bias = linear_weight(layer, in_features, like)
        return [
            Projections(
                **{
                    name: (base[name] + strength * getattr(self, f"to_{name}_lora")[frame].offset()).to(
                        like.dtype
                    )
                    for name in PROJECTIONS
                },
                bias=bias.to(like.dtype),
            )
            for frame in range(self.frames)
        ]

    def control_tokens(self, signal: Tensor) -> list[Tensor]:
        """Return for each frame what a signal [1, 256, h, w] adds to its tokens: [1, h*w, hidden]."""
        return [rearrange(convs(signal), "b c h w -> b (h w) c") for convs in self.control_convs]

    def forward(
        self,
        h: Tensor,
        merged: Merged,
        sources: list[tuple[Tensor, Tensor]] | None,
        control: list[Tensor] | None,
        strength: float,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Return what the block adds to its residual stream, [(b f), n, hidden], for normalised tokens h.

        `merged` is what `merge` gave, `control` what `control_tokens` gave. `sources` are each frame's key
        and value inputs [b, m, context]; None is self attention. `strength` scales everything that the base
        attention has not: 0 is the base attention, 1 the released model.
        """
        frames = []
        for f, weights in enumerate(merged.frames):
            x = h[f :: self.frames]
            if control is not None:
                x = x + strength * control[f]
            key, value = (x, x) if sources is None else sources[f]
            frame_mask = mask[f :: self.frames] if mask is not None and mask.shape[0] == h.shape[0] else mask
            attended = attend(
                F.linear(x, weights.q), F.linear(key, weights.k), F.linear(value, weights.v), frame_mask
            )
            frames.append(x + F.linear(attended, weights.out, weights.bias))
        shared = torch.stack(frames, dim=1)
        shared = shared + strength * self._across_frames(shared, merged.across)
        return rearrange(shared, "b f n c -> (b f) n c") - h

    def _across_frames(self, x: Tensor, folded: Folded) -> Tensor:
        """Attention of x [b, f, n, hidden] over f, at every token position by itself."""
        y = F.linear(self.temporal_n(x), folded.weight, folded.bias)
        if self.frames == 1:
            return y
        # a few frames at thousands of positions: too many tiny attentions for the fused kernels
        attended = [
            _attend_plainly(*rearrange(part, "b f n (p h d) -> p (b n h) f d", p=3, h=HEADS))
            for part in y.split(max(1, MOST_ROWS // (y.shape[0] * HEADS)), dim=2)
        ]
        joined = [rearrange(part, "(b n h) f d -> b f n (h d)", b=y.shape[0], h=HEADS) for part in attended]
        result: Tensor = self.temporal_o(torch.cat(joined, dim=2))
        return result


def _stage(channels: list[int], strides: list[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for n, stride in enumerate(strides):
        layers += [nn.Conv2d(channels[n], channels[n + 1], 3, stride=stride, padding=1), nn.SiLU()]
    return nn.Sequential(*layers)


class ControlEncoder(nn.Module):
    """Picture [1, 3, H, W] in [0, 1] -> signals of 1/8, 1/16, 1/32 and 1/64 its size."""

    def __init__(self, widths: list[int]) -> None:
        super().__init__()
        last = widths[-1]
        self.blocks_0 = _stage(widths, [1, 1, 2, 1, 2, 1, 2, 1])
        for n in range(1, CONTROL_STAGES):
            setattr(self, f"blocks_{n}", _stage([last] * 3, [2, 1]))

    def forward(self, picture: Tensor) -> dict[int, Tensor]:
        """Return the signals [1, 256, h, w] by their number of tokens h * w."""
        x, signals = 2 * picture - 1, {}
        for n in range(CONTROL_STAGES):
            x = getattr(self, f"blocks_{n}")(x)
            signals[x.shape[-2] * x.shape[-1]] = x
        return signals


class AttentionSharing(nn.Module):
    """A whole SD1.5 layer file: one unit per attention module, and the control encoder if it has one."""

    def __init__(self, units: list[SharingUnit], kwargs_encoder: ControlEncoder | None) -> None:
        super().__init__()
        self.hookers = nn.ModuleDict({"layers": nn.ModuleList(units)})
        self.kwargs_encoder = kwargs_encoder

    @property
    def units(self) -> list[SharingUnit]:
        return list(cast(Iterable[SharingUnit], self.hookers["layers"]))

    def merged_values(self) -> int:
        """How many numbers `merge` makes for all units together."""
        across = sum(unit.hidden**2 * (3 if unit.frames > 1 else 1) for unit in self.units)
        return across + sum(
            pair.up.weight.shape[0] * pair.down.weight.shape[1]
            for unit in self.units
            for name in PROJECTIONS
            for pair in getattr(unit, f"to_{name}_lora")
        )

    @classmethod
    def from_state_dict(
        cls, state_dict: Mapping[str, Tensor], frames: int, control: bool
    ) -> AttentionSharing:
        """Raise RuntimeError or KeyError for a missing, additional or wrongly shaped tensor."""

        def shape(key: str) -> torch.Size:
            return state_dict[key].shape

        with torch.device("meta"):
            encoder = None
            if control:
                convolutions = [shape(f"kwargs_encoder.blocks_0.{2 * n}.weight") for n in range(8)]
                encoder = ControlEncoder([convolutions[0][1], *(c[0] for c in convolutions)])
            units = []
            for n in range(len(UNIT_MODULES)):
                prefix = f"hookers.layers.{n}."
                rank, context = shape(f"{prefix}to_k_lora.0.down.weight")
                hidden = shape(f"{prefix}temporal_n.weight")[0]
                width = convolutions[-1][0] if control else None
                units.append(SharingUnit(frames, hidden, context, rank, width))
            network = cls(units, encoder)
        network.load_state_dict(state_dict, strict=True, assign=True)
        return network
