"""The picture autoencoder of latent diffusion (8x8 pixels to a position), with its parameter names."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class AutoencoderConfig:
    """Sizes of the autoencoder; each step between two levels halves the picture.

    The decoder has one residual block per level more than the encoder. Four channels share a norm
    group, as in the narrowest level of the SDXL autoencoder, up to its limit of 32 groups: with one
    channel each the norms would erase the colour of a flat picture.
    """

    width: int = 16
    channel_mult: tuple[int, ...] = (1, 2, 2, 4)
    num_res_blocks: int = 1
    latent_channels: int = 4

    @property
    def channels(self) -> tuple[int, ...]:
        return tuple(self.width * mult for mult in self.channel_mult)


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(min(32, channels // 4), channels, eps=1e-6)


class ResnetBlock(nn.Module):
    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        self.norm1 = _norm(channels)
        self.conv1 = nn.Conv2d(channels, out_channels, 3, padding=1)
        self.norm2 = _norm(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        # Only a block that changes the width has this parameter in a checkpoint.
        self.nin_shortcut = (
            nn.Identity() if channels == out_channels else nn.Conv2d(channels, out_channels, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.conv1(F.silu(self.norm1(x)))
        out: Tensor = self.nin_shortcut(x) + self.conv2(F.silu(self.norm2(hidden)))
        return out


class AttnBlock(nn.Module):
    """Single-head self attention over the positions of [B, C, H, W]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = _norm(channels)
        self.q, self.k, self.v, self.proj_out = (nn.Conv2d(channels, channels, 1) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        normed = self.norm(x)
        q, k, v = (layer(normed).flatten(2).transpose(1, 2)[:, None] for layer in (self.q, self.k, self.v))
        attended = F.scaled_dot_product_attention(q, k, v)
        out: Tensor = x + self.proj_out(attended[:, 0].transpose(1, 2).unflatten(2, x.shape[2:]))
        return out


class Downsample(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        # One row and column of zeros at the bottom right only: a size n becomes floor(n / 2).
        out: Tensor = self.conv(F.pad(x, (0, 1, 0, 1)))
        return out


class Upsample(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        return out


def _blocks(channels: int, out_channels: int, count: int) -> nn.ModuleList:
    return nn.ModuleList(ResnetBlock(a, b) for a, b in pairwise([channels, *[out_channels] * count]))


class DownLevel(nn.Module):
    """Residual blocks at one resolution, then the step to half of it except at the last level."""

    def __init__(self, channels: int, out_channels: int, count: int, last: bool) -> None:
        super().__init__()
        self.block = _blocks(channels, out_channels, count)
        self.downsample = nn.Identity() if last else Downsample(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.block:
            x = block(x)
        out: Tensor = self.downsample(x)
        return out


class UpLevel(nn.Module):
    """Residual blocks at one resolution, then the step to twice that except at the last level."""

    def __init__(self, channels: int, out_channels: int, count: int, last: bool) -> None:
        super().__init__()
        self.block = _blocks(channels, out_channels, count)
        self.upsample = nn.Identity() if last else Upsample(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.block:
            x = block(x)
        out: Tensor = self.upsample(x)
        return out


class Middle(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.block_1 = ResnetBlock(channels, channels)
        self.attn_1 = AttnBlock(channels)
        self.block_2 = ResnetBlock(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.block_2(self.attn_1(self.block_1(x)))
        return out


class Encoder(nn.Module):
    """Picture [B, 3, H, W] to the 8 (mean and log variance) channels of [B, 8, H // 8, W // 8]."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        widths = config.channels
        self.conv_in = nn.Conv2d(3, widths[0], 3, padding=1)
        self.down = nn.ModuleList(
            DownLevel(a, b, config.num_res_blocks, last=level == len(widths) - 1)
            for level, (a, b) in enumerate(pairwise([widths[0], *widths]))
        )
        self.mid = Middle(widths[-1])
        self.norm_out = _norm(widths[-1])
        self.conv_out = nn.Conv2d(widths[-1], 2 * config.latent_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.conv_in(x)
        for level in self.down:
            hidden = level(hidden)
        out: Tensor = self.conv_out(F.silu(self.norm_out(self.mid(hidden))))
        return out


class Decoder(nn.Module):
    """Latent [B, 4, h, w] to picture [B, 3, 8h, 8w]; `up` counts from the finest level, the last to run."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        widths = config.channels
        self.conv_in = nn.Conv2d(config.latent_channels, widths[-1], 3, padding=1)
        self.mid = Middle(widths[-1])
        self.up = nn.ModuleList(
            UpLevel(b, a, config.num_res_blocks + 1, last=level == 0)
            for level, (a, b) in enumerate(pairwise([*widths, widths[-1]]))
        )
        self.norm_out = _norm(widths[0])
        self.conv_out = nn.Conv2d(widths[0], 3, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        hidden = self.mid(self.conv_in(z))
        for level in reversed(self.up):
            hidden = level(hidden)
        out: Tensor = self.conv_out(F.silu(self.norm_out(hidden)))
        return out


class AutoencoderKL(nn.Module):
    """Pictures in -1..1 to latents and back.

    Two scales of latent exist: that of the encoder and decoder here, and the sampler's of about unit
    variance; `process_in` goes from the first to the second, `process_out` back.
    """

    scaling_factor = 0.13025
    shift_factor = 0.0

    def __init__(self, config: AutoencoderConfig | None = None) -> None:
        super().__init__()
        self.config = config or AutoencoderConfig()
        latent = self.config.latent_channels
        self.encoder = Encoder(self.config)
        self.decoder = Decoder(self.config)
        self.quant_conv = nn.Conv2d(2 * latent, 2 * latent, 1)
        self.post_quant_conv = nn.Conv2d(latent, latent, 1)

    def moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance (-30..20), both [B, 4, H // 8, W // 8], of pictures [B, 3, H, W] in -1..1."""
        mean, logvar = self.quant_conv(self.encoder(x)).chunk(2, dim=1)
        return mean, torch.clamp(logvar, -30.0, 20.0)

    def decode(self, z: Tensor) -> Tensor:
        """Picture [B, 3, 8h, 8w], about -1..1 but not clipped, of latents [B, 4, h, w] as the encoder's."""
        picture: Tensor = self.decoder(self.post_quant_conv(z))
        return picture

    def process_in(self, z: Tensor) -> Tensor:
        return (z - self.shift_factor) * self.scaling_factor

    def process_out(self, z: Tensor) -> Tensor:
        return z / self.scaling_factor + self.shift_factor
