"""The layers of the UNet, with the parameter names of SDXL and SD1.5 checkpoints."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


def group_norm(groups: int, channels: int, eps: float = 1e-5) -> nn.GroupNorm:
    """Group normalisation with at most `groups` groups, which must divide the channels."""
    return nn.GroupNorm(min(groups, channels), channels, eps=eps)


def zeroed(layer: nn.Conv2d | nn.Linear) -> nn.Module:
    """Start a layer at zero: the last one of a branch, so that an untrained branch adds nothing."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


class ResBlock(nn.Module):
    """Two convolutions with the time embedding [B, emb_channels] added between them."""

    def __init__(self, channels: int, out_channels: int, emb_channels: int, groups: int) -> None:
        super().__init__()
        self.in_layers = nn.Sequential(
            group_norm(groups, channels), nn.SiLU(), nn.Conv2d(channels, out_channels, 3, padding=1)
        )
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(emb_channels, out_channels))
        # The identity holds the place of a dropout: checkpoints number the convolution 3.
        self.out_layers = nn.Sequential(
            group_norm(groups, out_channels),
            nn.SiLU(),
            nn.Identity(),
            zeroed(nn.Conv2d(out_channels, out_channels, 3, padding=1)),
        )
        same = channels == out_channels
        self.skip_connection = nn.Identity() if same else nn.Conv2d(channels, out_channels, 1)

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        hidden = self.in_layers(x) + self.emb_layers(emb)[:, :, None, None]
        out: Tensor = self.skip_connection(x) + self.out_layers(hidden)
        return out


class Attention(nn.Module):
    """Multi-head attention of tokens [B, N, C] to `context` [B, M, context_dim], or to themselves."""

    def __init__(self, channels: int, context_dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(channels, channels, bias=False)
        self.to_k = nn.Linear(context_dim, channels, bias=False)
        self.to_v = nn.Linear(context_dim, channels, bias=False)
        self.to_out = nn.Sequential(nn.Linear(channels, channels))

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        source = x if context is None else context
        q, k, v = (
            t.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for t in (self.to_q(x), self.to_k(source), self.to_v(source))
        )
        attended = F.scaled_dot_product_attention(q, k, v)
        out: Tensor = self.to_out(attended.transpose(1, 2).flatten(2))
        return out


class GEGLU(nn.Module):
    """Linear layer whose second half gates the first."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.proj = nn.Linear(in_features, 2 * out_features)

    def forward(self, x: Tensor) -> Tensor:
        value, gate = self.proj(x).chunk(2, dim=-1)
        gated: Tensor = value * F.gelu(gate)
        return gated


class FeedForward(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.net = nn.Sequential(
            GEGLU(channels, 4 * channels), nn.Identity(), nn.Linear(4 * channels, channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.net(x)
        return out


class TransformerBlock(nn.Module):
    """Self attention, cross attention and feed-forward, each on the layer-normed tokens [B, N, C]."""

    def __init__(self, channels: int, context_dim: int, heads: int) -> None:
        super().__init__()
        self.attn1 = Attention(channels, channels, heads)
        self.ff = FeedForward(channels)
        self.attn2 = Attention(channels, context_dim, heads)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(channels) for _ in range(3))

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        x = x + self.attn1(self.norm1(x))
        x = x + self.attn2(self.norm2(x), context)
        x = x + self.ff(self.norm3(x))
        return x


class SpatialTransformer(nn.Module):
    """Transformer blocks over the positions of [B, C, H, W], added to it.

    The projections around them are linear layers in SDXL, 1x1 convolutions in SD1.5.
    """

    def __init__(
        self, channels: int, depth: int, context_dim: int, heads: int, groups: int, linear: bool
    ) -> None:
        super().__init__()
        # Unlike the residual blocks, latent diffusion normalises here with 1e-6.
        self.norm = group_norm(groups, channels, eps=1e-6)
        proj_in, proj_out = (
            nn.Linear(channels, channels) if linear else nn.Conv2d(channels, channels, 1) for _ in range(2)
        )
        self.proj_in = proj_in
        self.transformer_blocks = nn.ModuleList(
            TransformerBlock(channels, context_dim, heads) for _ in range(depth)
        )
        self.proj_out = zeroed(proj_out)
        self.linear = linear

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        height = x.shape[2]
        tokens = self.norm(x) if self.linear else self.proj_in(self.norm(x))
        tokens = tokens.flatten(2).transpose(1, 2)
        if self.linear:
            tokens = self.proj_in(tokens)
        for block in self.transformer_blocks:
            tokens = block(tokens, context)
        if self.linear:
            tokens = self.proj_out(tokens)
        tokens = tokens.transpose(1, 2).unflatten(2, (height, -1))
        out: Tensor = x + (tokens if self.linear else self.proj_out(tokens))
        return out


class Downsample(nn.Module):
    """Halve the size, rounding an odd one up."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.op = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.op(x)
        return out


class Upsample(nn.Module):
    """Double to `size` (height, width), which is one less where the downsampling rounded up."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        out: Tensor = self.conv(F.interpolate(x, size=size, mode="nearest"))
        return out
