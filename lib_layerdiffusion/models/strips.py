"""The transparency decoder in strips of rows: the same numbers with a fraction of the memory.

At full size a layer's input, its normalised copy, its activated copy and its output exist at once, and all
skips besides. Here a wide layer runs strip by strip, each read with the rows around it that its convolution
needs, and normalised with the mean and variance of the whole picture. So there are no seams: what differs
from the plain forward is the rounding alone. A strip fits into a processor's cache, which makes this the
fastest way on a CPU too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib_layerdiffusion.models.blocks import (
    HEAD_DIM,
    AttentionBlock,
    PictureNorm,
    ResnetBlock,
    activate,
    apply_affine,
    attend,
    is_tuned,
)
from lib_layerdiffusion.models.encoder_and_decoder import LATENT_LEVEL, TransparencyDecoder
from lib_layerdiffusion.models.row_store import Rows, RowStore, Statistics, affine

SMALL = 4
"""Strips that a layer's input must have to be worth it."""

QUERIES = 4096
"""Tokens whose attention to all tokens is computed at once."""


class StripDecoder:
    """Runs a decoder with about `values` activations at a time, and keeps wide layers on the device `store`.

    Call it like the decoder. Layers of a few strips run as a whole. With the `store` "cpu" an
    accelerator holds only strips, the small levels and the keys and values of one attention. Keep it for
    as long as pictures of one size are decoded: it uses its memory again.
    """

    def __init__(self, decoder: TransparencyDecoder, values: int, store: torch.device | str) -> None:
        self.decoder = decoder
        self.values = values
        channels_last = is_tuned(next(decoder.parameters()))
        self.store = RowStore(torch.device(store), channels_last)

    def __call__(self, pixel: Tensor, latent: Tensor) -> Tensor:
        """pixel [B, 3, H, W], latent [B, 4, H/8, W/8] on any device -> [B, 4, H, W] on the store's."""
        decoder, device = self.decoder, next(self.decoder.parameters()).device
        x = self._convolve([Rows(pixel)], decoder.conv_in, device)
        skips = [x]
        for level, block in enumerate(cast(Iterable[Any], decoder.down_blocks)):
            if level == LATENT_LEVEL:
                x = self._add(x, Rows(latent), decoder.latent_conv_in, device)
            for n in range(len(block.resnets)):
                x = self._layer(block, n, [x], device)
                skips.append(x)
            for downsample in block.downsamplers:
                x = self._convolve([x], downsample.conv, device)
                skips.append(x)
        x = self.store.keep(decoder.mid_block(x.read(0, x.height, device)))
        for block in cast(Iterable[Any], decoder.up_blocks):
            for n in range(len(block.resnets)):
                x = self._layer(block, n, [x, skips.pop()], device)
            for upsample in block.upsamplers:
                x = self._enlarge(x, upsample, device)
        result = self._convolve([x], decoder.conv_out, device, decoder.conv_norm_out)
        # its memory is used again
        return result.copy()

    def _strips(self, height: int, values_per_row: int) -> Iterator[tuple[int, int]]:
        rows = max(2, self.values // values_per_row // 2 * 2)
        for top in range(0, height, rows):
            yield top, min(top + rows, height)

    def _is_small(self, parts: Sequence[Rows]) -> bool:
        return sum(part.values.numel() for part in parts) <= SMALL * self.values

    def _add(self, x: Rows, other: Rows, project: nn.Module, device: torch.device) -> Rows:
        # the level before keeps its own as a skip
        result = self.store.take((x.batch, x.channels, x.height, x.width), x.values.dtype)
        for top, bottom in self._strips(x.height, x.row):
            result.write(top, x.read(top, bottom, device) + project(other.read(top, bottom, device)))
        return result

    def _layer(self, block: Any, n: int, parts: Sequence[Rows], device: torch.device) -> Rows:
        """Run the n-th resnet of a block, and its attention if any, over parts joined by channel."""
        resnet = block.resnets[n]
        if self._is_small(parts):
            x = resnet(*(part.read(0, part.height, device) for part in parts))
            return self.store.keep(block.attentions[n](x) if block.attentions else x)
        result = self._resnet(resnet, parts, device)
        return self._attention(block.attentions[n], result, device) if block.attentions else result

    def _resnet(self, resnet: ResnetBlock, parts: Sequence[Rows], device: torch.device) -> Rows:
        def shortcut(top: int, bottom: int) -> Tensor:
            rows = _read(parts, top, bottom, device)
            return rows if resnet.conv_shortcut is None else resnet.conv_shortcut(rows)

        h = self._convolve(parts, resnet.conv1, device, resnet.norm1)
        # the second input is a skip that nobody needs again; a row of it is read just before it is written
        target = parts[1] if len(parts) > 1 and parts[1].channels == h.channels else None
        return self._convolve([h], resnet.conv2, device, resnet.norm2, shortcut, target)

    def _convolve(
        self,
        parts: Sequence[Rows],
        conv: nn.Conv2d,
        device: torch.device,
        norm: PictureNorm | None = None,
        add: Callable[[int, int], Tensor] | None = None,
        target: Rows | None = None,
    ) -> Rows:
        """Return conv(silu(norm(x))) + add, or conv(x) without a norm, written over `target` if any."""
        prepare = self._activation(parts, norm, device)
        stride, height = conv.stride[0], parts[0].height
        widest = max(sum(part.row for part in parts) * stride, parts[0].width // stride * conv.out_channels)
        shape = parts[0].batch, conv.out_channels, height // stride, parts[0].width // stride
        result = target.renewed() if target is not None else self.store.take(shape, parts[0].values.dtype)
        for top, bottom in self._strips(height // stride, widest):
            # with one row around it for the 3x3 kernel
            first, last = top * stride - 1, (bottom - 1) * stride + 2
            above, below = max(0, -first), max(0, last - height)
            rows = prepare(_read(parts, first + above, last - below, device))
            if above or below:
                rows = F.pad(rows, (0, 0, above, below))
            rows = F.conv2d(rows, conv.weight, conv.bias, conv.stride, (0, 1))
            result.write(top, rows if add is None else rows.add_(add(top, bottom)))
        return result

    def _enlarge(self, x: Rows, upsample: nn.Module, device: torch.device) -> Rows:
        # four times as large afterwards
        if self._is_small([x] * 4):
            return self.store.keep(upsample(x.read(0, x.height, device)))
        shape = x.batch, x.channels, 2 * x.height, 2 * x.width
        result = self.store.take(shape, x.values.dtype)
        for top, bottom in self._strips(x.height, 4 * x.row):
            first, last = max(0, top - 1), min(x.height, bottom + 1)
            rows = upsample(x.read(first, last, device))
            result.write(2 * top, rows[:, :, 2 * (top - first) : 2 * (bottom - first)])
        return result

    def _attention(self, attention: AttentionBlock, x: Rows, device: torch.device) -> Rows:
        normalise = self._activation([x], attention.group_norm, device, active=False)
        shape = x.batch, attention.heads, x.height * x.width, HEAD_DIM
        k, v = (torch.empty(shape, dtype=x.values.dtype, device=device) for _ in range(2))
        for top, bottom in self._strips(x.height, x.row):
            _, keys, values = attention.project(normalise(x.read(top, bottom, device)))
            tokens = slice(top * x.width, bottom * x.width)
            k[:, :, tokens], v[:, :, tokens] = keys, values
        result = x.renewed()
        rows = max(1, QUERIES // x.width)
        for top in range(0, x.height, rows):
            bottom = min(top + rows, x.height)
            before = x.read(top, bottom, device)
            attended = attend(attention.project(normalise(before))[0], k, v)
            result.write(top, before + attention.output(attended, bottom - top))
        return result

    def _activation(
        self,
        parts: Sequence[Rows],
        norm: PictureNorm | None,
        device: torch.device,
        active: bool = True,
    ) -> Callable[[Tensor], Tensor]:
        """Return what normalises a strip by the statistics of all of it, and activates it."""
        if norm is None:
            return lambda rows: rows
        scale, shift = norm.given or affine(norm, [self._measured(part, device) for part in parts])
        if norm.keeps:
            norm.kept = scale, shift

        def prepare(rows: Tensor) -> Tensor:
            normal = apply_affine(rows, scale, shift)
            return activate(normal) if active else normal

        return prepare

    def _measured(self, part: Rows, device: torch.device) -> Statistics:
        """Return the statistics of rows; what came as a whole is measured now, the rest was when written."""
        if part.statistics is None:
            part.statistics = Statistics()
            for top, bottom in self._strips(part.height, part.row):
                part.statistics.add(part.read(top, bottom, device))
        return part.statistics


def _read(parts: Sequence[Rows], top: int, bottom: int, device: torch.device) -> Tensor:
    rows = [part.read(top, bottom, device) for part in parts]
    return rows[0] if len(rows) == 1 else torch.cat(rows, dim=1)
