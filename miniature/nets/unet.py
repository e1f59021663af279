"""The noise-predicting UNet of latent diffusion, with the parameter names of SDXL and SD1.5 checkpoints."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from miniature.nets.unet_layers import Downsample, ResBlock, SpatialTransformer, Upsample, group_norm, zeroed


@dataclass(frozen=True)
class UNetConfig:
    """Sizes of a UNet; the defaults are the miniature of SDXL.

    `channel_mult` and `transformer_depth` have one entry per resolution level, finest first.
    `num_head_channels=None` means `num_heads` heads at every width, as in SD1.5, and
    `adm_in_channels=None` a UNet without the pooled text vector.
    """

    model_channels: int = 32
    channel_mult: tuple[int, ...] = (1, 2, 3)
    transformer_depth: tuple[int, ...] = (0, 1, 1)
    middle_depth: int = 1
    context_dim: int = 64
    adm_in_channels: int | None = 64
    num_head_channels: int | None = 32
    num_heads: int = 8
    num_res_blocks: int = 2
    in_channels: int = 4
    out_channels: int = 4
    use_linear_projection: bool = True
    norm_groups: int = 32

    def __post_init__(self) -> None:
        if len(self.channel_mult) != len(self.transformer_depth):
            raise ValueError(f"{self.channel_mult} and {self.transformer_depth} differ in length")

    def res_block(self, channels: int, out_channels: int) -> ResBlock:
        return ResBlock(channels, out_channels, 4 * self.model_channels, self.norm_groups)

    def transformer(self, channels: int, depth: int) -> SpatialTransformer:
        heads = self.num_heads if self.num_head_channels is None else channels // self.num_head_channels
        return SpatialTransformer(
            channels, depth, self.context_dim, heads, self.norm_groups, self.use_linear_projection
        )


SDXL_MINIATURE = UNetConfig()
SD15_MINIATURE = UNetConfig(
    channel_mult=(1, 2, 2, 2),
    transformer_depth=(1, 1, 1, 0),
    adm_in_channels=None,
    num_head_channels=None,
    use_linear_projection=False,
)


def timestep_embedding(timesteps: Tensor, channels: int) -> Tensor:
    """Sinusoids of [B] timesteps (0..999, fractions allowed), float32 [B, channels], cosines first."""
    half = channels // 2
    steps = torch.arange(half, device=timesteps.device, dtype=torch.float32)
    angles = timesteps.float()[:, None] * torch.exp(steps * (-math.log(10000.0) / half))
    return torch.cat([angles.cos(), angles.sin()], dim=1)


def _perceptron(in_features: int, features: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(in_features, features), nn.SiLU(), nn.Linear(features, features))


class Stage(nn.ModuleList):
    """One numbered entry of the UNet: its layers in order, each given what it takes."""

    def forward(self, x: Tensor, emb: Tensor, context: Tensor, size: tuple[int, int] = (0, 0)) -> Tensor:
        for layer in self:
            if isinstance(layer, ResBlock):
                x = layer(x, emb)
            elif isinstance(layer, SpatialTransformer):
                x = layer(x, context)
            elif isinstance(layer, Upsample):
                x = layer(x, size)
            else:
                x = layer(x)
        return x


def _down_stages(config: UNetConfig, skips: list[int]) -> Iterator[Stage]:
    """Yield the stages after the first convolution; `skips` grows by each one's output channels."""
    for level, depth in enumerate(config.transformer_depth):
        channels = config.model_channels * config.channel_mult[level]
        for _ in range(config.num_res_blocks):
            stage = Stage([config.res_block(skips[-1], channels)])
            if depth:
                stage.append(config.transformer(channels, depth))
            skips.append(channels)
            yield stage
        if level + 1 < len(config.channel_mult):
            skips.append(channels)
            yield Stage([Downsample(channels)])


def _up_stages(config: UNetConfig, skips: list[int]) -> Iterator[Stage]:
    """Yield the stages back to full size; each consumes the last of `skips` beside its input."""
    current = skips[-1]
    for level, depth in reversed(list(enumerate(config.transformer_depth))):
        channels = config.model_channels * config.channel_mult[level]
        for index in range(config.num_res_blocks + 1):
            stage = Stage([config.res_block(current + skips.pop(), channels)])
            if depth:
                stage.append(config.transformer(channels, depth))
            if level and index == config.num_res_blocks:
                stage.append(Upsample(channels))
            current = channels
            yield stage


class UNet(nn.Module):
    """Predict the noise in a latent of any size.

    The number of input channels is that of `input_blocks.0.0.weight`, whatever the config says: a wider
    weight put in its place takes condition latents concatenated after the four noisy channels.
    """

    def __init__(self, config: UNetConfig = SDXL_MINIATURE) -> None:
        super().__init__()
        self.config = config
        width = config.model_channels
        self.time_embed = _perceptron(width, 4 * width)
        if config.adm_in_channels is not None:
            self.label_emb = nn.Sequential(_perceptron(config.adm_in_channels, 4 * width))
        first = Stage([nn.Conv2d(config.in_channels, width, 3, padding=1)])
        skips = [width]
        self.input_blocks = nn.ModuleList([first, *_down_stages(config, skips)])
        deepest = skips[-1]
        self.middle_block = Stage(
            [
                config.res_block(deepest, deepest),
                config.transformer(deepest, config.middle_depth),
                config.res_block(deepest, deepest),
            ]
        )
        self.output_blocks = nn.ModuleList(_up_stages(config, skips))
        last = width * config.channel_mult[0]
        self.out = nn.Sequential(
            group_norm(config.norm_groups, last),
            nn.SiLU(),
            zeroed(nn.Conv2d(last, config.out_channels, 3, padding=1)),
        )

    def forward(self, x: Tensor, timesteps: Tensor, context: Tensor, y: Tensor | None = None) -> Tensor:
        """Return eps [B, 4, h, w].

        `x` is the scaled noisy latent [B, 4, h, w] with any condition latents after it, `timesteps` [B]
        in 0..999, `context` [B, N, context_dim] and `y` the pooled text [B, adm_in_channels].
        """
        emb = self.time_embed(timestep_embedding(timesteps, self.config.model_channels).to(x.dtype))
        if self.config.adm_in_channels is not None:
            if y is None:
                raise ValueError("this UNet needs the pooled text vector y")
            emb = emb + self.label_emb(y)
        hidden = x
        skips: list[Tensor] = []
        for stage in self.input_blocks:
            hidden = stage(hidden, emb, context)
            skips.append(hidden)
        hidden = self.middle_block(hidden, emb, context)
        for stage in self.output_blocks:
            skip = skips.pop()
            # Downsampling rounds odd sizes up, so upsampling must ask the next skip how large to become.
            height, width = (skips[-1] if skips else skip).shape[-2:]
            hidden = stage(torch.cat([hidden, skip], dim=1), emb, context, (height, width))
        eps: Tensor = self.out(hidden)
        return eps
