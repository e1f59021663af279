"""A job that goes on from a picture of the gallery to its highres pass: the host's button for upscaling."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from lib_layerdiffusion.errors import BadPicture, UnsupportedMethod
from lib_layerdiffusion.hosts import job_methods
from lib_layerdiffusion.hosts.base import Host, Job
from lib_layerdiffusion.job import our_latents
from lib_layerdiffusion.job.generation import Generation
from lib_layerdiffusion.job.init_pictures import resize_rgba
from lib_layerdiffusion.methods import Method
from lib_layerdiffusion.pictures.reading import flatten, to_rgba

PREVIEW_MARK = "layerdiffuse_preview"
"""Key in the `info` of a preview, by which it is known when it comes back from the page."""


def first_pass_picture(p: Job) -> Image.Image | None:
    """Return the picture that takes the place of the first pass, None in other jobs."""
    picture: Image.Image | None = getattr(p, "firstpass_image", None)
    return picture if getattr(p, "enable_hr", False) else None


def check_upscale(picture: Image.Image, method: Method) -> None:
    """Raise BadPicture or UnsupportedMethod where there is no upscaling this picture."""
    if PREVIEW_MARK in picture.info:
        raise BadPicture(
            "This is the preview over a checkerboard, not the transparent picture. Select the transparent "
            "picture in the gallery and upscale that."
        )
    if method.frames > 1:
        raise UnsupportedMethod(
            f'"{method.label}" makes the layers of a scene together, so none of them can be upscaled alone. '
            "Generate the scene with hires fix, or switch LayerDiffuse off."
        )


class FirstPassPicture:
    """Wraps the coming `p.sample`: it sees the picture on grey, and its VAE encode gets the latent offset."""

    def __init__(self, host: Host, generation: Generation, p: Job, picture: Image.Image) -> None:
        self._host = host
        self._generation = generation
        self._p = p
        self._picture = to_rgba(picture, "upscaled")
        self._flat = flatten(self._picture)
        job_methods.around_next(p, "sample", self._sample)

    def _sample(self, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        p = self._p
        given, p.firstpass_image = p.firstpass_image, self._flat
        # each batch begins with the picture
        job_methods.around_next(p, "sample", self._sample)
        try:
            if not self._generation.method.decodes_alpha:
                return original(*args, **kwargs)
            if p.latent_scale_mode is not None:
                return self._encoding(original, *args, **kwargs)
            # it is encoded after the host has enlarged it, by the checkpoint of the highres pass
            job_methods.around_next(p, "sample_hr_pass", self._encoding)
            return original(*args, **kwargs)
        finally:
            p.firstpass_image = given

    def _encoding(self, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call the host's method; its first VAE encode is that of the picture."""
        run = partial(original, *args, **kwargs)
        doing = "encoding the picture to upscale"
        return our_latents.for_pictures(self._host, self._p, 1, self._encode, doing, run)

    def _encode(self, number: int, pixels: Tensor) -> Tensor:
        height, width = pixels.shape[1:3]
        rgba = self._picture
        if rgba.size != (width, height):
            rgba = resize_rgba(self._host, 0, rgba, width, height)
        return self._generation.encoded(np.array(rgba), pixels)
