"""Samplers, as plain functions of a denoiser.

`denoise(x, sigma)` takes noisy latents `clean + sigma * noise` [B, C, h, w] and sigma [B], and returns its
estimate of the clean latents. `sigmas` [steps + 1] falls to 0, where the result is the last estimate.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from torch import Tensor

Denoise = Callable[[Tensor, Tensor], Tensor]
Noise = Callable[[int], Tensor]


def derivative(x: Tensor, sigma: Tensor, denoised: Tensor) -> Tensor:
    """Slope dx/dsigma of the probability flow: equation 1 of Karras et al. (2022) with sigma(t) = t."""
    return (x - denoised) / sigma


def ancestral_step(sigma: float, following: float, eta: float = 1.0) -> tuple[float, float]:
    """Split a step into (down, up): integrate to `down`, then add `up` times fresh noise.

    down**2 + up**2 = following**2, so that the noise level is right afterwards. With eta = 1 this is the
    posterior of the diffusion process, as in k-diffusion; with eta = 0 nothing is added.
    """
    variance = following**2 * (sigma**2 - following**2) / sigma**2
    up = min(following, eta * variance**0.5)
    return (following**2 - up**2) ** 0.5, up


def sample_euler(denoise: Denoise, x: Tensor, sigmas: Tensor) -> Tensor:
    """Algorithm 2 of Karras et al. (2022) with Euler steps alone and no churn."""
    for sigma, following in pairwise(sigmas):
        denoised = denoise(x, sigma.expand(len(x)))
        x = x + derivative(x, sigma, denoised) * (following - sigma)
    return x


def sample_euler_ancestral(
    denoise: Denoise, x: Tensor, sigmas: Tensor, noise: Noise, eta: float = 1.0
) -> Tensor:
    """Euler steps that each add fresh noise again ("Euler a", after k-diffusion).

    `noise(step)` returns unit normal noise of the shape of x; it is not called for a step that ends at 0.
    """
    for step, (sigma, following) in enumerate(pairwise(sigmas)):
        denoised = denoise(x, sigma.expand(len(x)))
        down, up = ancestral_step(float(sigma), float(following), eta)
        x = x + derivative(x, sigma, denoised) * (down - sigma)
        if following > 0:
            x = x + noise(step) * up
    return x
