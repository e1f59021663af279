"""The transparency encoder and decoder, loaded strictly from the released files.

Architecture and constants: "Transparent Image Layer Diffusion using Latent Transparency"
(arXiv 2402.17113) as released; the released networks are lighter than the paper's.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from lib_layerdiffusion.models.blocks import DownBlock, MidBlock, UpBlock, activate, group_norm, in_best_order

DECODER_WIDTHS = (32, 32, 64, 128, 256, 512, 512)
LEVELS = len(DECODER_WIDTHS)
ATTENTION_FROM = 4
LATENT_LEVEL = 3
DECODER_MULTIPLE = 2 ** (LEVELS - 1)
"""Height and width in pixels must be multiples of this: each level but the last halves them."""

LATENT_SCALE = 8
"""Pixels per latent position and side."""


class TransparencyEncoder(nn.Sequential):
    """Nine 3x3 convolutions with SiLU between them: [B, 4, H, W] -> [B, 4, ceil(H/8), ceil(W/8)].

    Input: alpha and padded colour (alpha, R, G, B) in [0, 1]. Output: the latent offset, in units of the
    VAE posterior's standard deviation.
    """

    def __init__(self) -> None:
        channels = (4, 32, 32, 64, 64, 128, 128, 256, 256, 4)
        strides = (1, 1, 2, 1, 2, 1, 2, 1, 1)
        blocks: list[nn.Module] = []
        for n, stride in enumerate(strides):
            blocks += [nn.Conv2d(channels[n], channels[n + 1], 3, stride=stride, padding=1), nn.SiLU()]
        super().__init__()
        self.blocks = nn.Sequential(*blocks[:-1])

    @classmethod
    def from_state_dict(cls, state_dict: Mapping[str, Tensor]) -> TransparencyEncoder:
        """Raise RuntimeError or KeyError for a missing, additional or wrongly shaped tensor."""
        network = cls()
        network.load_state_dict(state_dict, strict=True)
        return network


class TransparencyDecoder(nn.Module):
    """A seven-level UNet without time: pixels [B, 3, H, W] in [0, 1] and VAE-space latent [B, 4, H/8, W/8]
    -> [B, 4, H, W] (alpha, R, G, B), straight colour, about [0, 1] but not clipped.

    H and W must be multiples of 64. `widths` are the channels of the levels; the released files have
    DECODER_WIDTHS, a file's own are read from its shapes by `from_state_dict`.
    """

    def __init__(self, widths: tuple[int, ...] = DECODER_WIDTHS) -> None:
        super().__init__()
        last = LEVELS - 1
        self.conv_in = nn.Conv2d(3, widths[0], 3, padding=1)
        self.latent_conv_in = nn.Conv2d(4, widths[LATENT_LEVEL - 1], 1)
        skips = [widths[0]]
        down_blocks = []
        for level, width in enumerate(widths):
            before = widths[max(level - 1, 0)]
            down_blocks.append(DownBlock(before, width, level >= ATTENTION_FROM, level == last))
            skips += [width] * (2 if level == last else 3)
        self.down_blocks = nn.ModuleList(down_blocks)
        self.mid_block = MidBlock(widths[-1])
        up_blocks, before = [], widths[-1]
        for level, width in reversed(list(enumerate(widths))):
            taken = [skips.pop() for _ in range(3)]
            up_blocks.append(UpBlock(before, width, taken, level >= ATTENTION_FROM, level == 0))
            before = width
        self.up_blocks = nn.ModuleList(up_blocks)
        self.conv_norm_out = group_norm(widths[0])
        self.conv_out = nn.Conv2d(widths[0], 4, 3, padding=1)

    def forward(self, pixel: Tensor, latent: Tensor) -> Tensor:
        x = self.conv_in(in_best_order(pixel))
        skips = [x]
        for level, block in enumerate(self.down_blocks):
            if level == LATENT_LEVEL:
                # the skip of the level before was taken without this
                x = x + self.latent_conv_in(latent)
            x, produced = block(x)
            skips += produced
        x = self.mid_block(x)
        for block in self.up_blocks:
            x = block(x, skips)
        return self.conv_out(activate(self.conv_norm_out(x)))

    @classmethod
    def from_state_dict(cls, state_dict: Mapping[str, Tensor]) -> TransparencyDecoder:
        """Raise RuntimeError or KeyError for a missing, additional or wrongly shaped tensor."""
        widths = tuple(
            int(state_dict[f"down_blocks.{level}.resnets.0.conv1.weight"].shape[0]) for level in range(LEVELS)
        )
        network = cls(widths)
        network.load_state_dict(state_dict, strict=True)
        return network
