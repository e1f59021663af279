"""Highres passes of a method whose latents hold the transparency itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lib_layerdiffusion.errors import UnsupportedMethod
from lib_layerdiffusion.hosts import job_methods
from lib_layerdiffusion.hosts.base import Job
from lib_layerdiffusion.methods import Method


def require(p: Job, method: Method) -> None:
    """Have the job end before sampling where a highres pass would go through opaque pixels.

    An upscaler of pixels gets what the host's own VAE makes of the latents, which has no alpha.
    """
    if not getattr(p, "enable_hr", False) or not method.family.decodes_latents_alone:
        return

    def init(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        result = original(*args, **kwargs)
        # the host looks the upscaler up here
        if p.latent_scale_mode is None:
            raise UnsupportedMethod(
                f'The upscaler "{p.hr_upscaler}" of hires fix works on opaque pixels, and "{method.label}" '
                "would lose its transparency there. Generate without hires fix and upscale the finished "
                "picture, or choose a Latent upscaler where the WebUI has one."
            )
        return result

    job_methods.around_next(p, "init", init)
