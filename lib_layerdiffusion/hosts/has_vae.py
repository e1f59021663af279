"""What the core needs of the VAE of a WebUI's job: a part of `hosts.base.Host`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

EncodePixels = Callable[[Tensor], Tensor]
"""A VAE's own encode: pixels [B, H, W, 3] in [0, 1] -> VAE-space latent."""


@dataclass(frozen=True)
class Posterior:
    """What the VAE's encoder says of a picture, in VAE space: two tensors [B, 4, h, w], float32."""

    mean: Tensor
    logvar: Tensor


class HasVae(Protocol):
    """`p` is the host's processing object. Shapes and spaces are those of `hosts.base.Host`."""

    def posterior(self, p: Any, pixels: Tensor) -> Posterior:
        """Encode pixels [B, H, W, 3] in [0, 1] without sampling. Raises IncompatibleHost for other VAEs."""
        ...

    def to_sampler(self, p: Any, latent: Tensor) -> Tensor:
        """VAE space -> sampler space."""
        ...

    def to_vae(self, p: Any, latent: Tensor) -> Tensor:
        """Sampler space -> VAE space."""
        ...

    def in_its_form(self, p: Any, latent: Tensor) -> Tensor:
        """Return a VAE-space latent [B, C, h, w] with the axes that the host has: some keep one for time."""
        ...

    def as_first_pass(self, p: Any, pictures: Tensor) -> Tensor:
        """Return RGB [B, 3, H, W] in [0, 1] as `p.sample_hr_pass` takes what the VAE made of a first pass."""
        ...

    def encode_with(
        self, p: Any, encode: Callable[[EncodePixels, Tensor], Tensor]
    ) -> AbstractContextManager[Callable[[], bool]]:
        """Within the block, VAE encodes of `p` go through `encode(original, pixels)` -> VAE-space latent.

        The block gets a function that is False once somebody else has put another VAE in its place, as every
        job does that another script runs meanwhile.
        """
        ...
