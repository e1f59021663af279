"""How the latents of a job hold transparency, and how it gets in and out: one class for each kind of decoder.

A class has `prepare`, which fetches and loads; `encoded`, which makes of an RGBA picture the latent that the
host takes for its VAE's; `decoded`, which makes an RGBA picture of a finished latent; and
`keep_through_highres`, for what hosts do between two passes. What a model needs beyond that, pictures it
looks at say, is a condition picture of the method table.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Protocol

from torch import Tensor

from lib_layerdiffusion.errors import GenerationFailed
from lib_layerdiffusion.hosts.base import Host, Job
from lib_layerdiffusion.job.highres_pixels import HighresPixels
from lib_layerdiffusion.methods import Family
from lib_layerdiffusion.models.encoder_and_decoder import LATENT_SCALE
from lib_layerdiffusion.networks import Networks
from lib_layerdiffusion.pictures.arithmetic import FloatImage, Uint8Image
from lib_layerdiffusion.request.options import Options
from lib_layerdiffusion.transparency import tiling
from lib_layerdiffusion.transparency.codec import Codec
from lib_layerdiffusion.transparency.latents import add_offset
from lib_layerdiffusion.transparency.rgba_codec import RgbaCodec
from lib_layerdiffusion.transparency.voting import Votes

Say = Callable[[str], None]


class HiddenAlpha(Protocol):
    """What a job asks of its latents; each class below is one way that they hold transparency."""

    passes_apart: float | None
    """How far the passes of the last decode were from one another, None where there was one."""

    def prepare(self, encodes: bool) -> None:
        """Have ready what will be needed; `encodes` where the job begins with RGBA pictures.

        Raises WeightsError.
        """
        ...

    def keep_through_highres(self, p: Job) -> None:
        """See to it that what the host does between the two passes of a job leaves the transparency."""
        ...

    def sampled(self) -> None:
        """Say that a sampling pass is over."""
        ...

    def encoded(self, p: Job, rgba: Uint8Image, pixels: Tensor) -> Tensor:
        """Return the VAE-space latent of RGBA uint8 [H, W, 4], in the host's form.

        `pixels` [1, H, W, 3] in [0, 1] are what the host sees of it.
        """
        ...

    def decoded(self, p: Job, latent: Tensor, picture: Uint8Image, name: str) -> FloatImage:
        """Return RGBA float32 [H, W, 4] in [0, 1] of a sampler-space latent in the host's form.

        `picture` [H, W, 3] is what the host's VAE made of it; messages call it `name`. Raises
        GenerationFailed and OutOfMemory.
        """
        ...


def of(host: Host, networks: Networks, family: Family, options: Options, say: Say) -> HiddenAlpha:
    """Return what a family's latents need."""
    kind = InLatents if family.decodes_latents_alone else BesideColours
    return kind(host, networks, family, options, say)


class BesideColours:
    """An offset hidden in a latent that looks like any other: the released encoder and decoder."""

    def __init__(self, host: Host, networks: Networks, family: Family, options: Options, say: Say) -> None:
        self._host = host
        self._options = options
        self._say = say
        self._codec = Codec(host, networks, family, say, options.low_memory)
        self._broken_off = False
        self.passes_apart: float | None = None

    def prepare(self, encodes: bool) -> None:
        self._codec.load_decoder()
        if encodes:
            self._codec.load_encoder()

    def keep_through_highres(self, p: Job) -> None:
        """The highres pass hides it again."""

    def encoded(self, p: Job, rgba: Uint8Image, pixels: Tensor) -> Tensor:
        posterior = self._host.posterior(p, pixels)
        return add_offset(posterior.mean, posterior.logvar, self.offset(p, rgba))

    def offset(self, p: Job, rgba: Uint8Image) -> Tensor:
        """Return the latent offset of RGBA uint8 [H, W, 4]: float32 [1, 4, ceil(H/8), ceil(W/8)]."""
        encode = self._codec.encode
        return tiling.encode(encode, rgba) if self._tiles(p) else encode(rgba)

    def _tiles(self, p: Job) -> bool:
        """True for pictures that go on at their opposite border; a part of a picture does not."""
        return self._host.tiles(p) and getattr(p, "paste_to", None) is None

    def sampled(self) -> None:
        """A button that was pressed while sampling asks for the picture as it is by then, well decoded."""
        self._broken_off = self._host.broken_off()

    def decoded(self, p: Job, latent: Tensor, picture: Uint8Image, name: str) -> FloatImage:
        """Interrupt and Skip end the decode after the pass at hand, which is said of the picture."""
        votes, done = Votes.of(self._options.decode_passes), 0

        def ends(count: int) -> bool:
            nonlocal done
            done = count
            return self._host.broken_off() and not self._broken_off

        def apart(mean: float) -> None:
            self.passes_apart = mean

        self.passes_apart = None
        run = partial(self._codec.decode, votes=replace(votes, each=ends, apart=apart))
        latent = self._host.to_vae(p, latent[None])[0]
        rgba = tiling.decode(run, latent, picture) if self._tiles(p) else run(latent, picture)
        if done < votes.passes and ends(done):
            self._say(f"The decode was interrupted: {name} has {done} of {votes.passes} passes.")
        return rgba


class InLatents:
    """Latents of a VAE with four image channels."""

    passes_apart: float | None = None

    def __init__(self, host: Host, networks: Networks, family: Family, options: Options, say: Say) -> None:
        self._host = host
        self._codec = RgbaCodec(host, networks, family.decoder, say, options.low_memory)

    def prepare(self, encodes: bool) -> None:
        self._codec.load()

    def keep_through_highres(self, p: Job) -> None:
        HighresPixels(self._host, p, partial(self._alone, p), partial(self.encoded, p))

    def sampled(self) -> None:
        """One decode is not worth breaking off."""

    def encoded(self, p: Job, rgba: Uint8Image, pixels: Tensor) -> Tensor:
        return self._host.in_its_form(p, self._codec.encode(rgba).to(pixels.device))

    def decoded(self, p: Job, latent: Tensor, picture: Uint8Image, name: str) -> FloatImage:
        height, width = (LATENT_SCALE * side for side in latent.shape[-2:])
        if (height, width) != picture.shape[:2]:
            raise GenerationFailed(
                f"Another extension made {picture.shape[1]}x{picture.shape[0]} pixels of a latent for "
                f"{width}x{height}, so their transparency cannot be decoded. Switch others off one by one to "
                "find it."
            )
        return self._alone(p, latent)

    def _alone(self, p: Job, latent: Tensor) -> FloatImage:
        latent = self._host.to_vae(p, latent[None])[0]
        # some hosts keep an axis for the time
        return self._codec.decode(latent if latent.ndim == 3 else latent[:, 0])
