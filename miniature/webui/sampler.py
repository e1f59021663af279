"""One sampling pass of the miniature WebUI, and how its buttons end it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from miniature.nets.sampling import sample_euler_ancestral
from miniature.webui.state import InterruptedException, state

if TYPE_CHECKING:
    from miniature.webui.processing import Processing, WebUI


class Sampler:
    """Made for a pass; `evaluations` counts how often it asked the model."""

    def __init__(self, webui: WebUI) -> None:
        self.webui = webui
        self.evaluations = 0
        self.last_latent: Tensor | None = None

    def sample_img2img(self, p: Processing, start: Tensor, sigmas: Tensor) -> Tensor:
        webui, schedule = self.webui, self.webui.schedule
        # like Forge, without the negative prompt where its part is 0, and else with it first
        chunks = [0] if p.cfg_scale == 1 else [1, 0]
        prompts = [p.hr_prompts if p.is_hr_pass else p.prompts, p.negative_prompts]
        texts = [text for chunk in chunks for text in prompts[chunk]]
        context, vector = webui.base.text(texts)
        steps = len(sigmas) - 1

        def denoise(x: Tensor, sigma: Tensor) -> Tensor:
            nonlocal context, vector
            # before anything of the model's is asked
            if state.interrupted or state.skipped:
                raise InterruptedException
            if self._goes_on_with_refiner(p, self.evaluations / steps):
                webui.load(p.refiner)
                context, vector = webui.base.text(texts)
            p.before_step(x)
            repeated, sigmas = torch.cat([x] * len(chunks)), torch.cat([sigma] * len(chunks))
            eps = webui.patcher.evaluate(
                schedule.network_input(repeated, sigmas),
                sigmas,
                schedule.timestep(sigmas),
                context,
                vector,
                chunks,
            )
            *uncond, cond = schedule.denoised(repeated, sigmas, eps).chunk(len(chunks))
            denoised = uncond[0] + (cond - uncond[0]) * p.cfg_scale if uncond else cond
            self.last_latent = denoised
            self.evaluations += 1
            return denoised

        x = start + p.noise(start.shape) * sigmas[0]
        self.last_latent = x
        try:
            return sample_euler_ancestral(denoise, x, sigmas, lambda step: p.noise(start.shape, step + 1))
        except InterruptedException:
            return self.last_latent

    def _goes_on_with_refiner(self, p: Processing, done: float) -> bool:
        """Like hosts by default, with hires fix only in the second pass."""
        if p.refiner is None or p.refiner is self.webui.other:
            return False
        return done >= p.refiner_switch_at and p.is_hr_pass == p.enable_hr


class DecodedSamples(list[Tensor]):
    """Pixels where latents are expected: what hosts hand out after a highres pass."""

    already_decoded = True
