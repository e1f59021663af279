"""The plain transparent decode that `benchmarks.decode` compares with, as a reader of the method writes it.

Eight forward passes, one after the other, over the turned and mirrored picture and latent; the results are
clipped, turned back, stacked, and combined by the lower median. The network waits in main memory and moves to
the device for the decode. Attention uses the fused kernel, as every peer has had since PyTorch 2.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib_layerdiffusion.models.blocks import HEAD_DIM, AttentionBlock, ResnetBlock
from lib_layerdiffusion.models.encoder_and_decoder import LATENT_LEVEL, TransparencyDecoder


def norm(layer: nn.GroupNorm, x: Tensor) -> Tensor:
    return F.group_norm(x, layer.num_groups, layer.weight, layer.bias, layer.eps)


def resnet(block: ResnetBlock, x: Tensor) -> Tensor:
    h = block.conv1(F.silu(norm(block.norm1, x)))
    h = block.conv2(F.silu(norm(block.norm2, h)))
    return h + (x if block.conv_shortcut is None else block.conv_shortcut(x))


def attention(block: AttentionBlock, x: Tensor) -> Tensor:
    batch, channels, height, width = x.shape
    tokens = norm(block.group_norm, x).flatten(2).transpose(1, 2)

    def heads(project: nn.Linear) -> Tensor:
        return project(tokens).unflatten(2, (-1, HEAD_DIM)).transpose(1, 2)

    attended = F.scaled_dot_product_attention(heads(block.to_q), heads(block.to_k), heads(block.to_v))
    attended = block.to_out[0](attended.transpose(1, 2).flatten(2))
    return x + attended.transpose(1, 2).reshape(batch, channels, height, width)


def layers(block: Any, x: Tensor, n: int) -> Tensor:
    x = resnet(block.resnets[n], x)
    return attention(block.attentions[n], x) if len(block.attentions) else x


def forward(network: TransparencyDecoder, pixel: Tensor, latent: Tensor) -> Tensor:
    """pixel [1, 3, H, W], latent [1, 4, H/8, W/8] -> [1, 4, H, W]."""
    x = network.conv_in(pixel)
    skips = [x]
    for level, down in enumerate(cast(Iterable[Any], network.down_blocks)):
        if level == LATENT_LEVEL:
            x = x + network.latent_conv_in(latent)
        for n in range(len(down.resnets)):
            x = layers(down, x, n)
            skips.append(x)
        for downsample in down.downsamplers:
            x = downsample.conv(x)
            skips.append(x)
    middle: Any = network.mid_block
    x = resnet(middle.resnets[0], x)
    x = attention(middle.attentions[0], x)
    x = resnet(middle.resnets[1], x)
    for up in cast(Iterable[Any], network.up_blocks):
        for n in range(len(up.resnets)):
            x = layers(up, torch.cat([x, skips.pop()], dim=1), n)
        for upsample in up.upsamplers:
            x = upsample.conv(F.interpolate(x, scale_factor=2, mode="nearest"))
    return network.conv_out(F.silu(norm(network.conv_norm_out, x)))


def decode(
    network: TransparencyDecoder,
    pixel: Tensor,
    latent: Tensor,
    device: str,
    passes: int = 8,
) -> Tensor:
    """Return float32 [4, H, W] on the CPU. The network comes from the CPU and is back there afterwards."""
    network.to(device)
    pixel, latent = (x.to(device, next(network.parameters()).dtype) for x in (pixel, latent))
    results = []
    for number in range(passes):
        flip, turns = number >= 4, number % 4
        x, y = (torch.rot90(t.flip(-1) if flip else t, turns, (-2, -1)) for t in (pixel, latent))
        result = torch.rot90(forward(network, x, y).clamp(0, 1), -turns, (-2, -1))
        results.append(result.flip(-1) if flip else result)
    median = torch.median(torch.stack(results), dim=0).values
    network.to("cpu")
    return median[0].float().cpu()
