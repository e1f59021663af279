"""Highres passes by an upscaler of pixels, where latents hold the transparency themselves.

Between the two passes hosts decode and encode with their own VAE, which knows no alpha. Here the upscaler
gets the colours of our decode, alpha is enlarged beside them, and the host takes our latent of both.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lib_layerdiffusion.errors import GenerationFailed, for_user
from lib_layerdiffusion.hosts import job_methods
from lib_layerdiffusion.hosts.base import Host, Job
from lib_layerdiffusion.hosts.has_vae import EncodePixels
from lib_layerdiffusion.pictures.arithmetic import FloatImage, Uint8Image, pad_colour, to_uint8

ENLARGING = "enlarging the transparent picture"
LOST = (
    "Another extension changed the VAE, or what happens between the two passes of hires fix, and so the "
    "transparency was lost. Switch others off one by one to find it."
)


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
        # each batch has one
        job_methods.around_next(self._p, "sample_hr_pass", self._pass)
        if self._p.latent_scale_mode is not None or self._host.interrupted():
            return original(latents, decoded, *args)
        try:
            pictures = [to_uint8(self._decode(latent)) for latent in latents]
        except Exception as error:
            # not in a hook: this one ends the job by itself
            raise for_user(error, ENLARGING) from error
        colours = np.stack([pad_colour(rgba) for rgba in pictures])
        decoded = self._host.as_first_pass(self._p, torch.from_numpy(colours).movedim(-1, 1))
        count = itertools.count()
        encoded = 0
        with ExitStack() as place:

            def encode(vae: EncodePixels, pixels: Tensor) -> Tensor:
                nonlocal encoded
                try:
                    made = [self._enlarged(pictures[next(count)], one[None]) for one in pixels]
                except Exception as error:
                    raise for_user(error, ENLARGING) from error
                encoded += len(made)
                if encoded == len(pictures):
                    # all that follows is the host's own
                    place.close()
                return torch.cat(made)

            # the quick encoder is no VAE
            place.enter_context(self._host.option("sd_vae_encode_method", "Full"))
            place.enter_context(self._host.encode_with(self._p, encode))
            result = original(latents, decoded, *args)
        # a button may end it before
        if encoded < len(pictures) and not self._host.broken_off():
            raise GenerationFailed(LOST)
        return result

    def _enlarged(self, rgba: Uint8Image, pixels: Tensor) -> Tensor:
        """Encode what an upscaler made of a picture's colours, with its alpha at that size."""
        height, width = pixels.shape[1:3]
        alpha = np.asarray(self._host.resize_init_image(0, Image.fromarray(rgba), width, height))[..., 3:]
        colour = to_uint8(pixels[0].float().cpu().numpy())
        return self._encode(np.concatenate([colour, alpha], axis=2), pixels)
