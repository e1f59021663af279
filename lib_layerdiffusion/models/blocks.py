"""Building blocks of the transparency decoder; attribute names are the keys of the released files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

GROUPS = 4
HEAD_DIM = 8


SMALLEST_HEAD = 16
"""Below this width a CPU's attention kernel is slower per value than with zeros in the missing places."""

TUNED = {"cpu"}
"""Kinds of device on which channels-last order, one kernel for enlarging and convolving, and padded heads
have been measured to be faster than the plain forms, which give the same numbers."""

ORDER_PAYS = 256 * 256
"""Pixels from which on another order is faster: for small pictures, rearranging the weights takes longer."""

KERNEL_PAYS = 32 * 32
"""Positions from which on one kernel for enlarging and convolving saves more than it takes to make."""

APART = {"cuda"}
"""Kinds of device that give each group of a normalisation to one multiprocessor: with four groups the others
wait. There statistics are measured by all of them, and applied in a step of their own."""

APART_PAYS = 1 << 16
"""Values of a group from which on that saves more than its additional kernels take to start."""

Affine = tuple[Tensor, Tensor]
"""Scale and shift [B, C, 1, 1], float32."""


def apply_affine(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Return x * scale + shift for x [B, C, H, W], computed in float32, in x's dtype."""
    if x.device.type in APART and not torch.is_grad_enabled():
        # the kernel converts as it reads and writes: no copy in float32
        return torch.addcmul(shift, x, scale, out=torch.empty_like(x))
    return torch.addcmul(shift, x.float(), scale).to(x.dtype)


class PictureNorm(nn.GroupNorm):
    """Group normalisation that can apply to a part of a picture what it found for all of it.

    While `keeps` is set, the scale and shift of each call go to `kept`; while `given` is set, it is used.
    """

    keeps = False
    kept: Affine | None = None
    given: Affine | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.given is not None:
            return apply_affine(x, *self.given)
        if self._pays_apart(x):
            found = self._measured(x)
            if self.keeps:
                self.kept = found
            return apply_affine(x, *found)
        if self.keeps:
            batch, channels = x.shape[:2]
            size, groups = x.shape[2:].numel(), self.num_groups
            normal, mean, factor = torch.native_group_norm(
                x, self.weight, self.bias, batch, channels, size, groups, self.eps
            )
            self.kept = self.scale_and_shift(mean, factor)
            return normal
        return super().forward(x)

    def _pays_apart(self, x: Tensor) -> bool:
        large = x.shape[1:].numel() >= APART_PAYS * self.num_groups
        return large and x.device.type in APART and not torch.is_grad_enabled()

    def _measured(self, x: Tensor) -> Affine:
        """Return the scale and shift that normalise x [B, C, H, W], in as few kernels as there can be."""
        groups = x.unflatten(1, (self.num_groups, -1))
        # the deviation, since the variance of what float16 holds may be more than it holds
        deviation, mean = torch.std_mean(groups, (2, 3, 4), correction=0)
        return self.scale_and_shift(mean, (deviation.float().square() + self.eps).rsqrt())

    def scale_and_shift(self, mean: Tensor, factor: Tensor) -> Affine:
        """Return the scale and shift that a mean and an inverse deviation by group, [B, groups], come to."""
        weight, bias = (values.unflatten(0, (self.num_groups, -1)) for values in (self.weight, self.bias))
        scale = factor.float()[..., None] * weight
        shift = torch.addcmul(bias.float(), mean.float()[..., None], scale, value=-1)
        return scale.flatten(1)[..., None, None], shift.flatten(1)[..., None, None]


@contextmanager
def keeping(norms: Sequence[PictureNorm]) -> Iterator[dict[PictureNorm, Affine]]:
    """Fill a dictionary with what the norms find for the picture that is decoded in the block."""
    found: dict[PictureNorm, Affine] = {}
    for norm in norms:
        norm.keeps = True
    try:
        yield found
        found.update((norm, norm.kept) for norm in norms if norm.kept is not None)
    finally:
        for norm in norms:
            norm.keeps, norm.kept = False, None


@contextmanager
def giving(found: Mapping[PictureNorm, Affine]) -> Iterator[None]:
    """Have the norms use what `keeping` found."""
    for norm, affine in found.items():
        norm.given = affine
    try:
        yield
    finally:
        for norm in found:
            norm.given = None


def group_norm(channels: int) -> PictureNorm:
    return PictureNorm(GROUPS, channels, eps=1e-5)


def is_tuned(x: Tensor) -> bool:
    """True where the forms of `TUNED` are to be used."""
    return x.device.type in TUNED


def in_best_order(x: Tensor) -> Tensor:
    """Return an activation with its values in the order that its device convolves fastest."""
    large = x.shape[2] * x.shape[3] >= ORDER_PAYS
    return x.contiguous(memory_format=torch.channels_last) if is_tuned(x) and large else x


def activate(x: Tensor) -> Tensor:
    """SiLU of a tensor that nobody else uses; in its own memory where no gradient needs the old values."""
    return F.silu(x, inplace=not torch.is_grad_enabled())


class ResnetBlock(nn.Module):
    """Two pre-activated 3x3 convolutions and a shortcut: [B, i, H, W] -> [B, o, H, W]."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.norm1 = group_norm(in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.norm2 = group_norm(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.conv_shortcut = nn.Conv2d(in_channels, out_channels, 1) if in_channels != out_channels else None

    def forward(self, x: Tensor, skip: Tensor | None = None) -> Tensor:
        """`skip`: further channels of the input, joined here so that nobody holds the joined tensor on."""
        if skip is not None:
            x = torch.cat([x, skip], dim=1)
        h = activate(self.norm1(x))
        shortcut = x if self.conv_shortcut is None else self.conv_shortcut(x)
        del x
        h = activate(self.norm2(self.conv1(h)))
        h = self.conv2(h)
        return h + shortcut if torch.is_grad_enabled() else h.add_(shortcut)


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """softmax(q k^T / sqrt(HEAD_DIM)) v of [B, heads, N, HEAD_DIM], without the token by token matrix.

    That would be 2 GB in float32 for 1024 pixels.
    """
    if is_tuned(q):
        q, k, v = (F.pad(values, (0, SMALLEST_HEAD - HEAD_DIM)) for values in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v, scale=HEAD_DIM**-0.5)[..., :HEAD_DIM]


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
        return x + self.output(attend(*self.project(self.group_norm(x))), x.shape[2])

    def project(self, normal: Tensor) -> list[Tensor]:
        """Return queries, keys and values [B, heads, H * W, HEAD_DIM] of normalised [B, C, H, W]."""
        tokens = normal.flatten(2).transpose(1, 2)
        return [
            projection(tokens).unflatten(-1, (self.heads, HEAD_DIM)).transpose(1, 2)
            for projection in (self.to_q, self.to_k, self.to_v)
        ]

    def output(self, attended: Tensor, height: int) -> Tensor:
        """Return what is added to [B, C, H, W]."""
        tokens = self.to_out[0](attended.transpose(1, 2).flatten(2))
        return tokens.transpose(1, 2).unflatten(2, (height, -1))


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
        if not is_tuned(x) or x.shape[2] * x.shape[3] < KERNEL_PAYS:
            return self.conv(F.interpolate(x, scale_factor=2, mode="nearest"))
        kernel = enlarging_kernel(self.conv.weight).contiguous(memory_format=torch.channels_last)
        return F.conv_transpose2d(x, kernel, self.conv.bias, stride=2, padding=1)


def enlarging_kernel(weight: Tensor) -> Tensor:
    """Return the kernel [i, o, 4, 4] that does at once what enlarging and the kernel [o, i, 3, 3] do.

    Doubled by nearest neighbour, the rows under a 3x3 kernel are two of the original, so four of its nine
    products per output value are enough. For `conv_transpose2d` with stride 2 and padding 1.
    """
    kernel = F.pad(weight.flip(2, 3), (1, 1, 1, 1))
    kernel = kernel[..., :-1, :] + kernel[..., 1:, :]
    return (kernel[..., :-1] + kernel[..., 1:]).transpose(0, 1)


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
            x = resnet(x, skips.pop())
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
