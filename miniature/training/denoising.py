"""What the training of every UNet shares: noise levels, the loss, and sampling for the sheets."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from lib_layerdiffusion.files.layer_patch import LATENT_CHANNELS
from miniature.nets.sampling import sample_euler_ancestral
from miniature.nets.schedule import NoiseSchedule
from miniature.nets.text_encoder import TextEncoder
from miniature.training import loop
from miniature.training.backgrounds import Rng

MOST_WEIGHT = 5.0
"""Bound of a noise level's weight, signal over noise: Hang et al. (2023), min-SNR."""

Predict = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""Scaled input with its conditions, timestep, context, vector -> noise."""


def timesteps(schedule: NoiseSchedule, rng: Rng, count: int) -> Tensor:
    """Timesteps [count], one of each equal part of the schedule, so that training steps are alike."""
    return torch.from_numpy((np.arange(count) + rng.random(count)) * schedule.last / count).float()


def losses(
    schedule: NoiseSchedule, clean: Tensor, timestep: Tensor, predict: Callable[[Tensor], Tensor]
) -> dict[str, Tensor]:
    """The loss of predicting the noise that is put on sampler-space latents [B, 4, h, w] at timesteps [B].

    `predict` takes them as the network does; "error" is without the weights of the noise levels.
    """
    sigma = schedule.sigma(timestep)
    noise = torch.randn_like(clean)
    x = schedule.network_input(clean + sigma[:, None, None, None] * noise, sigma)
    error = (predict(x) - noise) ** 2
    weight = (MOST_WEIGHT * sigma**2).clamp(max=1)
    return {"loss": (error.mean((1, 2, 3)) * weight).mean(), "error": error.mean()}


@torch.inference_mode()
def sample(
    predict: Predict,
    text: TextEncoder,
    prompts: list[str],
    conditions: Tensor | None = None,
    steps: int = 20,
    guidance: float = 4.0,
    channels: int = LATENT_CHANNELS,
) -> Tensor:
    """Sampler-space latents [B, channels, 16, 16] with Euler a, the first of seed 0, the next of 1 and so on.

    Noise is drawn on the CPU, the rest runs where the text encoder is. `predict` gets twice the batch, first
    without and then with the prompts.
    """
    schedule = NoiseSchedule()
    count, device = len(prompts), loop.device_of(text)
    context, vector = text([""] * count + prompts)

    def noise(step: int) -> Tensor:
        generators = [torch.Generator().manual_seed(1000 * step + n) for n in range(count)]
        drawn = [torch.randn(channels, 16, 16, generator=generator) for generator in generators]
        return torch.stack(drawn).to(device)

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        twice, sigmas = torch.cat([x, x]), torch.cat([sigma, sigma])
        given = schedule.network_input(twice, sigmas)
        if conditions is not None:
            given = torch.cat([given, conditions.repeat(2, 1, 1, 1)], dim=1)
        eps = predict(given, schedule.timestep(sigmas), context, vector)
        uncond, cond = schedule.denoised(twice, sigmas, eps).chunk(2)
        return uncond + (cond - uncond) * guidance

    sigmas = schedule.sampling_sigmas(steps).to(device)
    return sample_euler_ancestral(denoise, noise(steps) * sigmas[0], sigmas, noise)
