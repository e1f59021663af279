"""The part of a host's adapter that is about a job's VAE: what it says of a picture, and who encodes."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from lib_layerdiffusion.errors import IncompatibleHost
from lib_layerdiffusion.hosts.base import Job
from lib_layerdiffusion.hosts.has_vae import EncodePixels, Posterior


class WebUIVae:
    memory: Any

    def scaling(self, p: Job) -> Any:
        """What has `process_in` and `process_out`, between VAE space and sampler space."""
        raise NotImplementedError

    def posterior(self, p: Job, pixels: Tensor) -> Posterior:
        vae = p.sd_model.forge_objects.vae
        model = vae.first_stage_model
        if not hasattr(model, "encoder"):
            raise IncompatibleHost(
                "LayerDiffuse cannot encode with the selected VAE; select the checkpoint's own."
            )
        x = 2 * pixels.movedim(-1, 1) - 1
        self.memory.load_models_gpu([vae.patcher], vae.memory_used_encode(x.shape, vae.vae_dtype))
        moments = model.encoder(x.to(device=vae.device, dtype=vae.vae_dtype))
        if getattr(model, "quant_conv", None) is not None:
            moments = model.quant_conv(moments)
        mean, logvar = moments.float().to(vae.output_device).chunk(2, dim=1)
        return Posterior(mean, logvar)

    def to_sampler(self, p: Job, latent: Tensor) -> Tensor:
        return _as_shaped(self.scaling(p).process_in, latent)

    def to_vae(self, p: Job, latent: Tensor) -> Tensor:
        return _as_shaped(self.scaling(p).process_out, latent)

    def in_its_form(self, p: Job, latent: Tensor) -> Tensor:
        # hosts that keep an axis for the time have it in the constants that they scale by
        scaled = self.scaling(p).process_in(latent[:1])
        return latent if scaled.shape == latent[:1].shape else latent.unsqueeze(2)

    def as_first_pass(self, p: Job, pictures: Tensor) -> Tensor:
        return 2 * pictures - 1

    @contextmanager
    def encode_with(
        self, p: Job, encode: Callable[[EncodePixels, Tensor], Tensor]
    ) -> Iterator[Callable[[], bool]]:
        model = p.sd_model
        before = model.forge_objects
        # before the first sampling, forge_objects still is what the last job left there; a VAE's own `clone`
        # forgets attributes on some hosts
        vae = copy.copy(model.forge_objects_after_applying_lora.vae)
        original = vae.encode
        vae.encode = lambda pixels: encode(original, pixels)
        model.forge_objects = before.shallow_copy()
        model.forge_objects.vae = vae
        try:
            yield lambda: model.forge_objects.vae is vae
        finally:
            model.forge_objects = before


def _as_shaped(scale: Callable[[Tensor], Tensor], latent: Tensor) -> Tensor:
    """Scale a latent by the host's constants, which another number of axes would silently multiply."""
    scaled = scale(latent)
    if scaled.shape != latent.shape:
        raise IncompatibleHost(
            f"LayerDiffuse does not know latents as this WebUI has them ({list(latent.shape)} became "
            f"{list(scaled.shape)}); update both, or report it."
        )
    return scaled
