"""The noise schedule of SD1.5 and SDXL for networks that predict the noise (eps)."""

from __future__ import annotations

import torch
from torch import Tensor


def _per_sample(sigma: Tensor, x: Tensor) -> Tensor:
    return sigma.to(x).reshape(-1, *[1] * (x.ndim - 1))


class NoiseSchedule:
    """Noise levels sigma of the 1000 training timesteps, and between them by their logarithm.

    A noisy latent is `clean + sigma * noise`, with sigma from `sigma_min` (timestep 0) to `sigma_max` (999).
    """

    def __init__(self, start: float = 0.00085, end: float = 0.012, steps: int = 1000) -> None:
        betas = torch.linspace(start**0.5, end**0.5, steps, dtype=torch.float64) ** 2
        signal = torch.cumprod(1.0 - betas, dim=0)
        self.sigmas = ((1.0 - signal) / signal).sqrt().float()
        self.log_sigmas = self.sigmas.log()

    @property
    def last(self) -> int:
        """The timestep with the most noise, 999."""
        return len(self.sigmas) - 1

    @property
    def sigma_min(self) -> float:
        return float(self.sigmas[0])

    @property
    def sigma_max(self) -> float:
        return float(self.sigmas[-1])

    def sigma(self, timestep: Tensor) -> Tensor:
        """Sigma, float32, of timesteps of any shape; fractions interpolate, others are clipped to 0..999."""
        t = timestep.float().clamp(0, self.last)
        logs = self.log_sigmas.to(t.device)
        low = t.floor().long()
        return torch.lerp(logs[low], logs[t.ceil().long()], t - low).exp()

    def timestep(self, sigma: Tensor) -> Tensor:
        """Timestep, float32 in 0..999, of sigmas of any shape: the inverse of `sigma`."""
        logs = self.log_sigmas.to(sigma.device)
        log_sigma = sigma.float().log().clamp(logs[0], logs[-1])
        low = (torch.searchsorted(logs, log_sigma, right=True) - 1).clamp(0, self.last - 1)
        return low + (log_sigma - logs[low]) / (logs[low + 1] - logs[low])

    def percent_to_sigma(self, percent: float) -> float:
        """Sigma where `percent` (0..1) of the timesteps is done: beyond any sigma at 0, 0.0 at 1."""
        if percent <= 0.0:
            return 999999999.9
        if percent >= 1.0:
            return 0.0
        return float(self.sigma(torch.tensor((1.0 - percent) * self.last)))

    def sampling_sigmas(self, steps: int) -> Tensor:
        """`steps` sigmas from sigma_max to sigma_min at evenly spaced timesteps, then 0: [steps + 1]."""
        sigmas = self.sigma(torch.linspace(self.last, 0, steps))
        return torch.cat([sigmas, sigmas.new_zeros(1)])

    def network_input(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Noisy latents [B, C, h, w] at `sigma` [B] or [1], scaled to about unit variance for the network."""
        return x / (_per_sample(sigma, x) ** 2 + 1.0).sqrt()

    def denoised(self, x: Tensor, sigma: Tensor, eps: Tensor) -> Tensor:
        """The clean latents that the predicted noise `eps` implies."""
        return x - _per_sample(sigma, x) * eps
