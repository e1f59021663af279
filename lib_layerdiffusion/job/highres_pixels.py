"""Highres passes by an upscaler of pixels, where latents hold the transparency themselves.

Between the two passes hosts decode and encode with their own VAE, which knows no alpha. Here the upscaler
gets the colours of our decode, alpha is enlarged beside them, and the host takes our latent of both.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lib_layerdiffusion.errors import for_user
from lib_layerdiffusion.hosts import job_methods
from lib_layerdiffusion.hosts.base import Host, Job
from lib_layerdiffusion.job import our_latents
from lib_layerdiffusion.pictures.arithmetic import FloatImage, Uint8Image, pad_colour, to_uint8

DOING = "enlarging the transparent picture"


class HighresPixels:
    """Wraps `p.sample_hr_pass` of every batch.

    `decode` makes RGBA [H, W, 4] in [0, 1] of a sampler-space latent in the host's form, `encode` the
    host's VAE-space latent of RGBA uint8 and the pixels [1, H, W, 3] in [0, 1] that the host sees of it.
    """

    def __init__(
        self,
        host: Host,
        p: Job,
        decode: Callable[[Tensor], FloatImage],
        encode: Callable[[Uint8Image, Tensor], Tensor],
    ) -> None:
        self._host = host
        self._p = p
        self._decode = decode
        self._encode = encode
        job_methods.around_next(p, "sample_hr_pass", self._pass)

    def _pass(
        self, original: Callable[..., Any], latents: Any, decoded: Any, *args: Any, **kwargs: Any
    ) -> Any:
        p, host = self._p, self._host
        # each batch has one
        job_methods.around_next(p, "sample_hr_pass", self._pass)
        if p.latent_scale_mode is not None or host.interrupted():
            return original(latents, decoded, *args, **kwargs)
        try:
            pictures = [to_uint8(self._decode(latent)) for latent in latents]
        except Exception as error:
            # not in a hook: this one ends the job by itself
            raise for_user(error, DOING) from error
        colours = np.stack([pad_colour(rgba) for rgba in pictures])
        decoded = host.as_first_pass(p, torch.from_numpy(colours).movedim(-1, 1))

        def encode(number: int, pixels: Tensor) -> Tensor:
            return self._enlarged(pictures[number], pixels)

        run = partial(original, latents, decoded, *args, **kwargs)
        return our_latents.for_pictures(host, p, len(pictures), encode, DOING, run)

    def _enlarged(self, rgba: Uint8Image, pixels: Tensor) -> Tensor:
        """Encode what an upscaler made of a picture's colours, with its alpha at that size."""
        height, width = pixels.shape[1:3]
        alpha = np.asarray(self._host.resize_init_image(0, Image.fromarray(rgba), width, height))[..., 3:]
        colour = to_uint8(pixels[0].float().cpu().numpy())
        return self._encode(np.concatenate([colour, alpha], axis=2), pixels)
