"""Activations kept row by row, with the statistics that group normalisation needs of all of them."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor

from lib_layerdiffusion.models.blocks import Affine, PictureNorm


class Statistics:
    """Mean and variance of every channel of a picture that comes strip by strip, float32 [B, C] each."""

    def __init__(self) -> None:
        self.count = 0
        self.mean = self._squares = torch.zeros(())

    def add(self, rows: Tensor) -> None:
        """Take rows [B, C, h, W] into account."""
        rows = rows.float()
        added = rows.shape[2] * rows.shape[3]
        center = rows.mean((2, 3), keepdim=True)
        squares = (rows - center).square_().sum((2, 3))
        center = center[:, :, 0, 0]
        if self.count:
            # Chan, Golub and LeVeque: statistics of a union from those of its parts
            total = self.count + added
            delta = center - self.mean
            squares += self._squares + delta.square() * (self.count * added / total)
            center = self.mean + delta * (added / total)
        self.mean, self._squares = center, squares
        self.count += added

    def variance(self) -> Tensor:
        """Return the variance, not that of a sample."""
        return self._squares / self.count


def affine(norm: PictureNorm, parts: Sequence[Statistics]) -> Affine:
    """Return scale and shift [B, C, 1, 1], float32, that normalise channels joined from `parts`."""
    means, variances = (
        torch.cat(values, dim=1).unflatten(1, (norm.num_groups, -1))
        for values in ([part.mean for part in parts], [part.variance() for part in parts])
    )
    mean = means.mean(2, keepdim=True)
    # the channels of a group are of one size
    variance = (variances + (means - mean).square()).mean(2, keepdim=True)
    return norm.scale_and_shift(mean[:, :, 0], (variance + norm.eps).rsqrt()[:, :, 0])


class RowStore:
    """Memory on one device for activations, used again when the last that used it is gone.

    Fresh memory costs a processor more time than the arithmetic that fills it. `channels_last` is the order
    of the values.
    """

    def __init__(self, device: torch.device, channels_last: bool) -> None:
        self.device = device
        self.channels_last = channels_last
        self._free: list[Tensor] = []

    def take(self, shape: tuple[int, int, int, int], dtype: torch.dtype) -> Rows:
        """Return rows [B, C, H, W] with any values."""
        memory = _Memory(self._free, prod(shape), dtype, self.device)
        batch, channels, height, width = shape
        if self.channels_last:
            values = memory.tensor.view(batch, height, width, channels).permute(0, 3, 1, 2)
        else:
            values = memory.tensor.view(shape)
        return Rows(values, memory, Statistics())

    def keep(self, values: Tensor) -> Rows:
        """Return rows of values [B, C, H, W] that were made as a whole."""
        return Rows(values.to(self.device))


class _Memory:
    """A flat tensor from a list of free ones, put back when nobody refers to this object any more."""

    def __init__(self, free: list[Tensor], size: int, dtype: torch.dtype, device: torch.device) -> None:
        self._free = free
        # parts of a picture are of many sizes, but what is much too large is needed by a larger layer
        fitting = [
            (tensor.numel(), n)
            for n, tensor in enumerate(free)
            if size <= tensor.numel() < 2 * size and tensor.dtype == dtype
        ]
        self._whole = free.pop(min(fitting)[1]) if fitting else torch.empty(size, dtype=dtype, device=device)
        self.tensor = self._whole[:size]

    def __del__(self) -> None:
        self._free.append(self._whole)


class Rows:
    """Activations [B, C, H, W]; `statistics` are of what was written, None if nothing was."""

    def __init__(
        self, values: Tensor, memory: _Memory | None = None, statistics: Statistics | None = None
    ) -> None:
        self.values = values
        self.statistics = statistics
        self._memory = memory
        self.batch, self.channels, self.height, self.width = values.shape

    @property
    def row(self) -> int:
        """How many values a row of one picture has."""
        return self.channels * self.width

    def renewed(self) -> Rows:
        """Return rows in the same memory, to be written over these."""
        return Rows(self.values, self._memory, Statistics())

    def read(self, top: int, bottom: int, device: torch.device) -> Tensor:
        """Return the rows from `top` to before `bottom`; perhaps our own memory."""
        return self.values[:, :, top:bottom].to(device)

    def copy(self) -> Tensor:
        """Return all rows in memory of their own, where they are."""
        return self.values.clone(memory_format=torch.contiguous_format)

    def write(self, top: int, rows: Tensor) -> None:
        """Put rows there, once each."""
        assert self.statistics is not None
        self.statistics.add(rows)
        self.values[:, :, top : top + rows.shape[2]] = rows
