"""The transparency decoder in strips of rows: the same numbers with a fraction of the memory.

At full size a layer's input, its normalised copy, its activated copy and its output exist at once, and all
skips besides. Here a layer of the three largest levels runs strip by strip, each read with the rows around
it that its convolution needs, and normalised with the mean and variance of the whole picture. So there are
no seams: what differs from the plain forward is the rounding alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib_layerdiffusion.models.blocks import ResnetBlock
from lib_layerdiffusion.models.transparency import LATENT_LEVEL, TransparencyDecoder

Add = Callable[[int, int], Tensor]
"""What is added to the rows from the first number to before the second."""


class _Rows:
    """Pictures [B, C_n, H, W] stacked by channel, read a few rows at a time onto the compute device."""

    def __init__(self, parts: Sequence[Tensor], device: torch.device) -> None:
        self._parts = parts
        self._device = device
        self.height = parts[0].shape[2]

    def read(self, top: int, bottom: int) -> Tensor:
        rows = [part[:, :, top:bottom].to(self._device) for part in self._parts]
        return rows[0] if len(rows) == 1 else torch.cat(rows, dim=1)


class StripDecoder:
    """Runs a decoder with `rows` rows of the largest level at a time, wide activations kept on `store`.

    Call it like the decoder. `store` "cpu" leaves only strips and the small levels on the decoder's device.
    """

    def __init__(self, decoder: TransparencyDecoder, rows: int, store: torch.device | str) -> None:
        self.decoder = decoder
        self.rows = rows
        self.store = torch.device(store)

    def __call__(self, pixel: Tensor, latent: Tensor) -> Tensor:
        """pixel [B, 3, H, W], latent [B, 4, H/8, W/8], both on the decoder's device -> [B, 4, H, W]."""
        decoder, device = self.decoder, pixel.device
        x = self._convolve(_Rows([pixel], device), decoder.conv_in)
        skips = [x]
        for level, block in enumerate(cast(Iterable[Any], decoder.down_blocks)):
            if level < LATENT_LEVEL:
                for resnet in block.resnets:
                    x = self._resnet(resnet, [x], device)
                    skips.append(x)
                for downsample in block.downsamplers:
                    x = self._convolve(_Rows([x], device), downsample.conv)
                    skips.append(x)
                continue
            x = x.to(device)
            if level == LATENT_LEVEL:
                x = x + decoder.latent_conv_in(latent)
            x, produced = block(x)
            skips += produced
        x = decoder.mid_block(x)
        wide = len(decoder.up_blocks) - LATENT_LEVEL
        for n, block in enumerate(cast(Iterable[Any], decoder.up_blocks)):
            if n < wide:
                skips[-3:] = [skip.to(device) for skip in skips[-3:]]
                x = block(x, skips)
                continue
            for resnet in block.resnets:
                x = self._resnet(resnet, [x, skips.pop()], device)
            for upsample in block.upsamplers:
                x = self._convolve(_Rows([x], device), upsample.conv, enlarge=2)
        result = self._convolve(_Rows([x], device), decoder.conv_out, decoder.conv_norm_out)
        return result.to(device)

    def _resnet(self, resnet: ResnetBlock, parts: Sequence[Tensor], device: torch.device) -> Tensor:
        x = _Rows(parts, device)

        def shortcut(top: int, bottom: int) -> Tensor:
            rows = x.read(top, bottom)
            return rows if resnet.conv_shortcut is None else resnet.conv_shortcut(rows)

        h = self._convolve(x, resnet.conv1, resnet.norm1)
        return self._convolve(_Rows([h], device), resnet.conv2, resnet.norm2, add=shortcut)

    def _convolve(
        self,
        x: _Rows,
        conv: nn.Conv2d,
        norm: nn.GroupNorm | None = None,
        enlarge: int = 1,
        add: Add | None = None,
    ) -> Tensor:
        """Return conv(silu(norm(x))) + add, or conv(x) of x enlarged by repeating it, kept on the store."""
        activate = _activation(x, norm, self.rows)
        stride = conv.stride[0]
        height = x.height * enlarge
        result: Tensor | None = None
        for top in range(0, height // stride, self.rows):
            bottom = min(top + self.rows, height // stride)
            # rows of the enlarged input under this strip, with one row around it for the 3x3 kernel
            first, last = top * stride - 1, (bottom - 1) * stride + 2
            above, below = max(0, -first), max(0, last - height)
            first, last = first + above, last - below
            begin, end = first // enlarge, -(-last // enlarge)
            rows = activate(x.read(begin, end))
            if enlarge > 1:
                rows = F.interpolate(rows, scale_factor=enlarge, mode="nearest")
                rows = rows[:, :, first - begin * enlarge : last - begin * enlarge]
            rows = F.conv2d(F.pad(rows, (1, 1, above, below)), conv.weight, conv.bias, conv.stride)
            if add is not None:
                rows = rows + add(top, bottom)
            if result is None:
                shape = (*rows.shape[:2], height // stride, rows.shape[3])
                result = torch.empty(shape, dtype=rows.dtype, device=self.store)
            result[:, :, top:bottom] = rows
        assert result is not None
        return result


def _activation(x: _Rows, norm: nn.GroupNorm | None, rows: int) -> Callable[[Tensor], Tensor]:
    """Return what normalises a strip by the statistics of all of `x` and activates it."""
    if norm is None:
        return lambda strip: strip
    count, mean, squares = 0, torch.zeros(()), torch.zeros(())
    for top in range(0, x.height, rows):
        strip = x.read(top, min(top + rows, x.height)).float()
        grouped = strip.reshape(strip.shape[0], norm.num_groups, -1)
        added = grouped.shape[2]
        variance, center = torch.var_mean(grouped, dim=2, correction=0)
        # Chan, Golub and LeVeque: statistics of a union from those of its parts
        total = count + added
        delta = center - mean.to(center)
        mean = mean.to(center) + delta * (added / total)
        squares = squares.to(center) + variance * added + delta.square() * (count * added / total)
        count = total
    scale = (squares / count + norm.eps).rsqrt().repeat_interleave(norm.num_channels // norm.num_groups, 1)
    shift = -mean.repeat_interleave(norm.num_channels // norm.num_groups, 1) * scale
    weight, bias = norm.weight.float()[None], norm.bias.float()[None]
    scale, shift = (scale * weight)[:, :, None, None], (shift * weight + bias)[:, :, None, None]

    def activate(strip: Tensor) -> Tensor:
        return F.silu((strip.float() * scale + shift).to(strip.dtype))

    return activate
