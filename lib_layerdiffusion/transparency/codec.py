"""Encoding and decoding in spite of a full memory, and of numbers that float16 cannot hold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from lib_layerdiffusion.errors import GenerationFailed
from lib_layerdiffusion.hosts.base import Host
from lib_layerdiffusion.methods import Family
from lib_layerdiffusion.models.encoder_and_decoder import TransparencyDecoder, TransparencyEncoder
from lib_layerdiffusion.networks import Networks
from lib_layerdiffusion.pictures.arithmetic import FloatImage, Uint8Image
from lib_layerdiffusion.transparency.latents import encode_offset
from lib_layerdiffusion.transparency.memory import first_that_fits
from lib_layerdiffusion.transparency.voting import Votes
from lib_layerdiffusion.transparency.ways import Way, ways
from lib_layerdiffusion.weight_files import WeightFile

T = TypeVar("T")


class Codec:
    """One job's transparency encoder and decoder. `say` tells the user what became slower, and why.

    `low_memory` decodes in strips from the start; see `ways.ways`.
    """

    def __init__(
        self,
        host: Host,
        networks: Networks,
        family: Family,
        say: Callable[[str], None],
        low_memory: bool = False,
    ) -> None:
        self._host = host
        self._networks = networks
        self._family = family
        self._say = say
        self._low_memory = low_memory
        self._first_way = 0

    def load_encoder(self) -> None:
        """Have the encoder ready. Raises WeightsError."""
        self._networks.resident(self._family.encoder, TransparencyEncoder.from_state_dict)

    def load_decoder(self) -> None:
        """Have the decoder ready. Raises WeightsError."""
        self._networks.resident(self._family.decoder, TransparencyDecoder.from_state_dict)

    @torch.inference_mode()
    def encode(self, rgba: Uint8Image) -> Tensor:
        """Return the latent offset of RGBA uint8 [H, W, 4]: float32 [1, 4, ceil(H/8), ceil(W/8)]."""
        file, build = self._family.encoder, TransparencyEncoder.from_state_dict
        height, width = rgba.shape[:2]

        def on_device() -> Tensor:
            # the widest pair of activations: 32 channels in, 32 out, at full size
            with self._networks.resident(file, build)(height * width * 64) as encoder:
                return encode_offset(encoder, rgba)

        ways = [
            ("as usual", on_device),
            ("on the CPU", lambda: encode_offset(self._networks.on_cpu(file, build), rgba)),
        ]
        doing = "encoding the transparency"
        return finite(
            self._networks,
            self._say,
            file,
            doing,
            lambda: first_that_fits(ways, doing, self._host.free_memory, self._say)[1],
            lambda offset: bool(torch.isfinite(offset).all()),
        )

    @torch.inference_mode()
    def decode(self, latent: Tensor, picture: Uint8Image, votes: Votes) -> FloatImage:
        """Return straight-alpha RGBA float32 [H, W, 4] in [0, 1]; see `latents.decode_rgba`.

        Shows its progress, and asks `votes.each` after each pass whether to stop there.
        """
        file, build = self._family.decoder, TransparencyDecoder.from_state_dict
        doing = "decoding the transparency"

        def each(done: int) -> bool | None:
            self._host.report(f"decoding the transparency: {done} of {votes.passes}", None)
            return votes.each(done)

        height, width = picture.shape[:2]
        shown = replace(votes, each=each)
        tried = ways(self._host.compute_device(), height, width, shown, self._low_memory)

        def follow(way: Way) -> FloatImage:
            if way.own_copy:
                return way.decode(self._networks.on_cpu(file, build), latent.cpu(), picture)
            with self._networks.resident(file, build)(way.values) as decoder:
                return way.decode(decoder, latent, picture)

        def compute() -> FloatImage:
            named = [(way.name, partial(follow, way)) for way in tried[self._first_way :]]
            index, rgba = first_that_fits(named, doing, self._host.free_memory, self._say)
            # the next picture of the job is as large
            self._first_way += index
            return rgba

        try:
            return finite(
                self._networks,
                self._say,
                file,
                doing,
                compute,
                lambda rgba: bool(np.isfinite(rgba).all()),
            )
        finally:
            self._host.report("", None)


def finite(
    networks: Networks,
    say: Callable[[str], None],
    file: WeightFile,
    doing: str,
    compute: Callable[[], T],
    is_finite: Callable[[T], bool],
) -> T:
    """Return what is computed, in float32 where float16 cannot hold it. Raises GenerationFailed."""
    result = compute()
    if not is_finite(result) and networks.widen(file):
        say(f"Numbers became too large for float16 while {doing}; doing it in float32.")
        result = compute()
    if not is_finite(result):
        raise GenerationFailed(
            f"LayerDiffuse got values that are not numbers (NaN) while {doing}, in float32 too, so there "
            f"is no picture. Replace {file.filename}, or try another seed."
        )
    return result
