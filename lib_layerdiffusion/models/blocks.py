"""Building blocks of the transparency decoder; attribute names are the keys of the released files."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

GROUPS = 4
HEAD_DIM = 8


def group_norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(GROUPS, channels, eps=1e-5)


class ResnetBlock(nn.Module):
    """Two pre-activated 3x3 convolutions and a shortcut: [B, i, H, W] -> [B, o, H, W]."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.norm1 = group_norm(in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.norm2 = group_norm(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.conv_shortcut = nn.Conv2d(in_channels, out_channels, 1) if in_channels != out_channels else None

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.conv2(F.silu(self.norm2(h)))
        return h + (x if self.conv_shortcut is None else self.conv_shortcut(x))


class AttentionBlock(nn.Module):
    """Self attention over all positions with heads of dimension 8, added to its input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.heads = channels // HEAD_DIM
        self.group_norm = group_norm(channels)
        self.to_q = nn.Linear(channels, channels)
        self.to_k = nn.Linear(channels, channels)
        self.to_v = nn.Linear(channels, channels)
        self.to_out = nn.ModuleList([nn.Linear(channels, channels)])

    def forward(self, x: Tensor) -> Tensor:
        height = x.shape[2]
        tokens = rearrange(self.group_norm(x), "b c h w -> b (h w) c")
        q, k, v = (
            rearrange(project(tokens), "b n (h d) -> b h n d", h=self.heads)
            for project in (self.to_q, self.to_k, self.to_v)
        )
        # the fused kernels never hold the token by token matrix: 2 GB in float32 for 1024 pixels
        attended = F.scaled_dot_product_attention(q, k, v)
        tokens = self.to_out[0](rearrange(attended, "b h n d -> b n (h d)"))
        return x + rearrange(tokens, "b (h w) c -> b c h w", h=height)


class Downsample(nn.Module):
    """Halve height and width: 3x3 convolution with stride 2 and padding 1 on all sides."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class Upsample(nn.Module):
    """Double height and width: nearest neighbour, then a 3x3 convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2, mode="nearest"))


class DownBlock(nn.Module):
    """Two resnets, each with its attention if any, then a downsampler unless it is the last block."""

    def __init__(self, in_channels: int, out_channels: int, attention: bool, last: bool) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(
            [ResnetBlock(in_channels, out_channels), ResnetBlock(out_channels, out_channels)]
        )
        self.attentions = nn.ModuleList(
            [AttentionBlock(out_channels) for _ in self.resnets] if attention else []
        )
        self.downsamplers = nn.ModuleList([] if last else [Downsample(out_channels)])

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the result and what was produced on the way, in order."""
        skips = []
        for n, resnet in enumerate(self.resnets):
            x = resnet(x)
            if self.attentions:
                x = self.attentions[n](x)
            skips.append(x)
        for downsample in self.downsamplers:
            x = downsample(x)
            skips.append(x)
        return x, skips


class UpBlock(nn.Module):
    """Three resnets, each taking the newest skip, then an upsampler unless it is the last block."""

    def __init__(
        self, in_channels: int, out_channels: int, skip_channels: list[int], attention: bool, last: bool
    ) -> None:
        super().__init__()
        inputs = [in_channels, out_channels, out_channels]
        self.resnets = nn.ModuleList(
            [ResnetBlock(i + s, out_channels) for i, s in zip(inputs, skip_channels, strict=True)]
        )
        self.attentions = nn.ModuleList(
            [AttentionBlock(out_channels) for _ in self.resnets] if attention else []
        )
        self.upsamplers = nn.ModuleList([] if last else [Upsample(out_channels)])

    def forward(self, x: Tensor, skips: list[Tensor]) -> Tensor:
        """Take three entries from the end of `skips`."""
        for n, resnet in enumerate(self.resnets):
            x = resnet(torch.cat([x, skips.pop()], dim=1))
            if self.attentions:
                x = self.attentions[n](x)
        for upsample in self.upsamplers:
            x = upsample(x)
        return x


class MidBlock(nn.Module):
    """Resnet, attention, resnet."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.attentions = nn.ModuleList([AttentionBlock(channels)])
        self.resnets = nn.ModuleList([ResnetBlock(channels, channels), ResnetBlock(channels, channels)])

    def forward(self, x: Tensor) -> Tensor:
        return self.resnets[1](self.attentions[0](self.resnets[0](x)))
