"""The sampling passes of a batch in the miniature WebUI: one, or a first and a highres one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from miniature.webui.images import resize_image
from miniature.webui.sampler import DecodedSamples, Sampler
from miniature.webui.state import state

if TYPE_CHECKING:
    from miniature.webui.processing import Processing

LATENT_UPSCALERS = {"Latent": {"mode": "bilinear"}}
"""The upscalers of latents; any other works on pixels."""


def sample(p: Processing) -> Any:
    """Latents of the batch; after a highres pass pixels, as hosts have it."""
    webui = p.webui
    shape = (len(p.seeds), webui.channels, p.height // 8, p.width // 8)
    sigmas = webui.schedule.sampling_sigmas(p.steps)
    if p.init_latent is not None:
        return sample_pass(p, p.init_latent, _part(sigmas, p.denoising_strength), p.latent_mask)
    latents = pixels = None
    if p.firstpass_image is not None and p.enable_hr:
        # like hosts, with as many channels as it has
        given = torch.from_numpy(np.asarray(p.firstpass_image, np.float32) / 255)[None]
        if p.latent_scale_mode is None:
            pixels = given
        else:
            latents = webui.base.vae.process_in(webui.encode(given))
    else:
        latents = sample_pass(p, torch.zeros(shape), sigmas)
        if not p.enable_hr or state.interrupted:
            return latents
        if p.latent_scale_mode is None:
            pixels = webui.decode(latents).movedim(1, -1)
    if p.hr_checkpoint is not None:
        webui.load(p.hr_checkpoint)
    return p.sample_hr_pass(latents, pixels)


def sample_highres(p: Processing, latents: Tensor | None, pixels: Tensor | None) -> Any:
    """Upscale latents [B, 4, h, w] or pixels [B, H, W, 3 or 4], and sample at that size."""
    webui = p.webui
    if state.interrupted:
        return latents
    height, width = round(p.height * p.hr_scale), round(p.width * p.hr_scale)
    p.is_hr_pass = True
    if p.latent_scale_mode is not None:
        assert latents is not None
        size = height // 8, width // 8
        larger = torch.nn.functional.interpolate(latents, size, mode=p.latent_scale_mode["mode"])
    else:
        assert pixels is not None
        pixels = _upscale(pixels, height, width)
        larger = webui.base.vae.process_in(webui.encode(pixels))
    p.sampler = Sampler(webui)
    # Forge asks scripts once more here, before it forgets the first pass's patcher
    p.run_hook("process_before_every_sampling", x=larger)
    sigmas = webui.schedule.sampling_sigmas(p.steps)
    result = sample_pass(p, larger, _part(sigmas, p.denoising_strength))
    p.is_hr_pass, p.sampler = False, None
    return DecodedSamples(webui.decode(result))


def _upscale(pixels: Tensor, height: int, width: int) -> Tensor:
    """Enlarge [B, H, W, 3 or 4] as the networks of hosts do: from the colours alone."""
    pictures = [Image.fromarray((one * 255).numpy().astype(np.uint8)).convert("RGB") for one in pixels]
    enlarged = [np.asarray(resize_image(0, one, width, height), np.float32) for one in pictures]
    return torch.from_numpy(np.stack(enlarged) / 255)


def _part(sigmas: Tensor, strength: float) -> Tensor:
    steps = len(sigmas) - 1
    return sigmas[steps - max(1, round(steps * strength)) :]


def sample_pass(p: Processing, start: Tensor, sigmas: Tensor, mask: Tensor | None = None) -> Tensor:
    """Ask scripts, and sample from `start` [B, 4, h, w]; outside the mask it stays as it is."""
    webui = p.webui
    webui.patcher = webui.original
    p.sampler = Sampler(webui)
    p.run_hook("process_before_every_sampling", x=start)
    latents = p.sampler.sample_img2img(p, start, sigmas)
    return latents if mask is None else latents * mask + start * (1 - mask)
