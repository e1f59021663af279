"""A VAE with four image channels: RGBA pixels to latents and back, in one step.

It is the VAE of Wan 2.1 and Qwen-Image with a fourth channel at both ends, for one picture: of each of its
convolutions in time the last tap alone has an effect, so the network here is a plain one. Parameters are
called as in the published file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib_layerdiffusion.models.rgba_vae_keys import plain_state_dict

IMAGE_CHANNELS = 4
LEVELS = (1, 2, 4, 4)
"""Channels of the levels, from full size to an eighth, as multiples of the first's."""
HALO = 13
"""Latent rows beyond a strip that a row in it depends on at most."""
QUERIES = 4096
"""Positions whose attention to all positions is computed at once."""


class Norm(nn.Module):
    """Each pixel's channels over their length, times sqrt(C) * gamma.

    In float32: the sum of squares passes what float16 can hold, and would become silent zeros.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        length = torch.linalg.vector_norm(x, dim=1, keepdim=True, dtype=torch.float32).clamp_min(1e-12)
        scale = (x.shape[1] ** 0.5) / length
        return (x * scale * self.gamma).to(x.dtype)


class Res(nn.Module):
    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            Norm(before),
            nn.SiLU(),
            nn.Conv2d(before, after, 3, padding=1),
            Norm(after),
            nn.SiLU(),
            nn.Identity(),
            nn.Conv2d(after, after, 3, padding=1),
        )
        self.shortcut = nn.Identity() if before == after else nn.Conv2d(before, after, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.residual(x).add_(self.shortcut(x))


class Attention(nn.Module):
    """One head over all positions."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = Norm(channels)
        self.to_qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.proj = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.to_qkv(self.norm(x)).flatten(2).transpose(1, 2).chunk(3, dim=2)
        parts = [F.scaled_dot_product_attention(part, k, v) for part in q.split(QUERIES, dim=1)]
        return x + self.proj(torch.cat(parts, dim=1).transpose(1, 2).reshape(x.shape))


class Resample(nn.Module):
    """Half the size, or twice the size with half the channels."""

    def __init__(self, first: nn.Module, convolution: nn.Module) -> None:
        super().__init__()
        self.resample = nn.Sequential(first, convolution)

    def forward(self, x: Tensor) -> Tensor:
        return self.resample(x)


def _down(channels: int) -> Resample:
    return Resample(nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(channels, channels, 3, stride=2))


def _up(channels: int) -> Resample:
    return Resample(nn.Upsample(scale_factor=2.0), nn.Conv2d(channels, channels // 2, 3, padding=1))


def _middle(channels: int) -> nn.Sequential:
    return nn.Sequential(Res(channels, channels), Attention(channels), Res(channels, channels))


def _head(channels: int, after: int) -> nn.Sequential:
    return nn.Sequential(Norm(channels), nn.SiLU(), nn.Conv2d(channels, after, 3, padding=1))


class Encoder(nn.Module):
    def __init__(self, width: int, latent: int, image: int) -> None:
        super().__init__()
        widths = [width * level for level in (LEVELS[0], *LEVELS)]
        self.conv1 = nn.Conv2d(image, widths[0], 3, padding=1)
        layers: list[nn.Module] = []
        for number, (before, after) in enumerate(pairwise(widths)):
            layers += [Res(before, after), Res(after, after)]
            layers += [_down(after)] if number + 1 < len(LEVELS) else []
        self.downsamples = nn.Sequential(*layers)
        self.middle = _middle(widths[-1])
        self.head = _head(widths[-1], 2 * latent)

    def local(self, pixels: Tensor) -> Tensor:
        """All that looks no further than HALO."""
        return self.downsamples(self.conv1(pixels))


class Decoder(nn.Module):
    def __init__(self, width: int, latent: int, image: int) -> None:
        super().__init__()
        widths = [width * level for level in reversed(LEVELS)]
        self.conv1 = nn.Conv2d(latent, widths[0], 3, padding=1)
        self.middle = _middle(widths[0])
        layers: list[nn.Module] = []
        before = widths[0]
        for number, after in enumerate(widths):
            layers += [Res(before, after), Res(after, after), Res(after, after)]
            if number + 1 < len(widths):
                layers.append(_up(after))
                before = after // 2
        self.upsamples = nn.Sequential(*layers)
        self.head = _head(widths[-1], image)

    def local(self, x: Tensor) -> Tensor:
        """All that looks no further than HALO."""
        return self.head(self.upsamples(x))


class RgbaVae(nn.Module):
    """RGBA pixels [B, 4, H, W] <-> VAE-space latents [B, 16, H/8, W/8]; H and W are multiples of 8.

    Pixels are straight R, G, B and alpha, all in [-1, 1]; what is decoded is not clipped. The released file
    has a `width` of 96.
    """

    def __init__(self, width: int = 96, latent: int = 16, image: int = IMAGE_CHANNELS) -> None:
        super().__init__()
        self.encoder = Encoder(width, latent, image)
        self.conv1 = nn.Conv2d(2 * latent, 2 * latent, 1)
        self.conv2 = nn.Conv2d(latent, latent, 1)
        self.decoder = Decoder(width, latent, image)

    def moments(self, pixels: Tensor, rows: int | None = None) -> Tensor:
        """Return mean and log variance [B, 32, H/8, W/8]; hosts take the mean and never sample.

        With `rows`, that many latent rows at a time: the same but for rounding, with less memory.
        """
        encoder = self.encoder
        x = encoder.local(pixels) if rows is None else _in_strips(encoder.local, pixels, rows, 8, 1)
        return self.conv1(encoder.head(encoder.middle(x)))

    def encode(self, pixels: Tensor, rows: int | None = None) -> Tensor:
        """Return the mean [B, 16, H/8, W/8]."""
        return self.moments(pixels, rows).chunk(2, dim=1)[0]

    def decode(self, latent: Tensor, rows: int | None = None) -> Tensor:
        """Return pixels [B, 4, H, W]; `rows` as for `moments`."""
        decoder = self.decoder
        x = decoder.middle(decoder.conv1(self.conv2(latent)))
        return decoder.local(x) if rows is None else _in_strips(decoder.local, x, rows, 1, 8)

    @classmethod
    def from_state_dict(cls, state_dict: Mapping[str, Tensor]) -> RgbaVae:
        """Take a whole file in any of its spellings.

        Raises KeyError, RuntimeError or ValueError for what is missing, additional or wrongly shaped.
        """
        state = plain_state_dict(state_dict)
        first, last = state["encoder.conv1.weight"], state["decoder.head.2.weight"]
        taken, given = first.shape[1], last.shape[0]
        if (taken, given) != (IMAGE_CHANNELS, IMAGE_CHANNELS):
            kind = "the ordinary VAE, not the transparent one" if given == 3 else "no VAE of RGBA pictures"
            raise ValueError(f"it takes {taken} image channels and gives {given}: {kind}")
        network = cls(first.shape[0], state["conv2.weight"].shape[0])
        network.load_state_dict(state, strict=True)
        return network


def _in_strips(compute: Callable[[Tensor], Tensor], x: Tensor, rows: int, taken: int, given: int) -> Tensor:
    """Run what looks HALO rows far over strips of `rows`; a row is `taken` of x, `given` of what comes."""
    height = x.shape[2] // taken
    parts = []
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        first, last = max(0, top - HALO), min(height, bottom + HALO)
        part = compute(x[:, :, first * taken : last * taken])
        parts.append(part[:, :, (top - first) * given : (bottom - first) * given].clone())
        del part
    return torch.cat(parts, dim=2)
