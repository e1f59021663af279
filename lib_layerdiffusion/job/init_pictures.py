"""The RGBA init pictures of one img2img job: how the host gets to encode them, and what inpainting keeps."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lib_layerdiffusion.errors import BadPicture, GenerationFailed, for_user
from lib_layerdiffusion.hosts import job_methods
from lib_layerdiffusion.hosts.base import Host, Job
from lib_layerdiffusion.hosts.has_vae import EncodePixels
from lib_layerdiffusion.job.generation import Generation
from lib_layerdiffusion.job.our_latents import TAKEN_AWAY
from lib_layerdiffusion.pictures.arithmetic import blend
from lib_layerdiffusion.pictures.reading import flatten, given_init_picture

LATENT_UPSCALE = 3
"""The host's resize mode that leaves init images at their own size."""


def has_init_pictures(p: Job) -> bool:
    """True for img2img. Raises BadPicture where the pictures are not in a list."""
    given = getattr(p, "init_images", None)
    if given is None:
        return False
    if not isinstance(given, list | tuple):
        raise BadPicture(
            f"The init pictures (init_images) are a {type(given).__name__}; they must be a list of pictures."
        )
    return bool(given)


def resize_rgba(host: Host, mode: int, picture: Image.Image, width: int, height: int) -> Image.Image:
    """Resize as the host does, but for colours that cannot be seen: multiplied by alpha, they are black."""
    resize, opaque = host.resize_init_image, picture.convert("RGB").convert("RGBA")
    pixels = np.array(resize(mode, picture, width, height))
    colours = np.asarray(resize(mode, opaque, width, height))
    np.copyto(pixels[..., :3], colours[..., :3], where=pixels[..., 3:] == 0)
    return Image.fromarray(pixels)


class InitPictures:
    """Wraps the next `p.init`: it sees the pictures on grey, and its VAE encodes get their latent offsets."""

    def __init__(self, host: Host, generation: Generation, p: Job) -> None:
        self._host = host
        self._generation = generation
        self._p = p
        self._pictures: list[Image.Image] = []

        def init(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
            given = p.init_images
            # not in a hook: a picture that cannot be read ends the job by itself
            self._pictures = [given_init_picture(picture) for picture in given]
            try:
                p.init_images = [self._shown(picture) for picture in self._pictures]
                with self._encodes():
                    result = original(*args, **kwargs)
            except BaseException:
                generation.forget()
                raise
            finally:
                p.init_images = given
            return result

        job_methods.around_next(p, "init", init)

    def _shown(self, picture: Image.Image) -> Image.Image:
        """Return what the host gets to see of a picture."""
        return flatten(picture)

    @contextmanager
    def _encodes(self) -> Iterator[None]:
        """Within the block the host encodes what it sees."""
        # the quick encoder is no VAE and takes no offset
        with (
            self._host.option("sd_vae_encode_method", "Full"),
            self._host.encode_with(self._p, self._encoder()) as is_in_place,
        ):
            yield
            if not is_in_place():
                raise GenerationFailed(TAKEN_AWAY)

    def _number(self, position: int) -> int:
        """Which picture belongs to a position in the batch: one picture serves all."""
        return position if len(self._pictures) > 1 else 0

    def _encoder(self) -> Callable[[EncodePixels, Tensor], Tensor]:
        """Hosts encode one picture after the other, a single one once per picture of the batch."""
        expected = len(self._pictures) if len(self._pictures) > 1 else self._p.batch_size
        count = itertools.count()
        latents: dict[int, Tensor] = {}

        def encode_one(position: int, pixels: Tensor) -> Tensor:
            number = self._number(position)
            if number not in latents:
                try:
                    latents[number] = self._encode(self._pictures[number], pixels)
                except Exception as error:
                    # not in a hook: this one ends the job by itself
                    raise for_user(error, "encoding the init picture") from error
            return latents[number]

        def encode(original: EncodePixels, pixels: Tensor) -> Tensor:
            positions = [next(count) for _ in pixels]
            if positions[-1] >= expected:
                # an inpainting checkpoint's masked picture
                return original(pixels)
            return torch.cat([encode_one(n, one[None]) for n, one in zip(positions, pixels, strict=True)])

        return encode

    def _encode(self, picture: Image.Image, pixels: Tensor) -> Tensor:
        rgba = self._as_encoded(picture, *pixels.shape[1:3])
        return self._generation.encoded(np.array(rgba), pixels)

    def _as_encoded(self, picture: Image.Image, height: int, width: int) -> Image.Image:
        """Return the RGBA picture with the geometry that the host gave the one it encodes."""
        p, resize, region = self._p, self._resize, self._crop_region()
        if region is not None:
            picture = resize(2, picture.crop(region), p.width, p.height)
        elif p.resize_mode != LATENT_UPSCALE:
            picture = resize(p.resize_mode, picture, p.width, p.height)
        return picture if picture.size == (width, height) else resize(0, picture, width, height)

    def _resize(self, mode: int, picture: Image.Image, width: int, height: int) -> Image.Image:
        return resize_rgba(self._host, mode, picture, width, height)

    def _crop_region(self) -> tuple[int, int, int, int] | None:
        """Return (left, top, right, bottom) where only the masked part of the picture is generated."""
        p = self._p
        if getattr(p, "image_mask", None) is None or not p.inpaint_full_res or p.paste_to is None:
            return None
        left, top, width, height = p.paste_to
        return left, top, left + width, top + height

    def keep_outside(self, result: Image.Image, mask: Image.Image, position: int) -> Image.Image:
        """Return the original where the mask is black, the RGBA result where it is white.

        The result was sampled at `position` in its batch; the masked part alone is put into its place.
        """
        p, resize = self._p, self._resize
        original = self._pictures[self._number(position)]
        region = self._crop_region()
        if region is not None:
            left, top, right, bottom = region
            canvas = Image.new("RGBA", original.size)
            canvas.paste(resize(1, result, right - left, bottom - top), (left, top))
            result = canvas
        elif original.size != result.size:
            mode = 0 if p.resize_mode == LATENT_UPSCALE else p.resize_mode
            original = resize(mode, original, *result.size)
        mask = mask.convert("L").resize(result.size)
        return Image.fromarray(blend(np.array(result), np.array(original), np.array(mask)))
