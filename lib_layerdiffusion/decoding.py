"""Encoding and decoding in spite of a full memory, and of numbers that float16 cannot hold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from lib_layerdiffusion.errors import GenerationFailed
from lib_layerdiffusion.hosts.base import Host
from lib_layerdiffusion.images import FloatImage, Uint8Image
from lib_layerdiffusion.memory import first_that_fits
from lib_layerdiffusion.methods import Family, WeightFile
from lib_layerdiffusion.models.strips import StripDecoder
from lib_layerdiffusion.models.transparency import TransparencyDecoder, TransparencyEncoder
from lib_layerdiffusion.networks import Build, Networks
from lib_layerdiffusion.progress import check
from lib_layerdiffusion.transparency import Votes, decode_rgba, encode_offset

T = TypeVar("T")

STRIP = 64
"""Rows of the full-size levels that are computed at once when memory is short."""


class Codec:
    """One job's transparency encoder and decoder. `say` tells the user what became slower, and why."""

    def __init__(self, host: Host, networks: Networks, family: Family, say: Callable[[str], None]) -> None:
        self._host = host
        self._networks = networks
        self._family = family
        self._say = say
        self._first_way = 0

    def load_encoder(self) -> None:
        """Have the encoder ready. Raises WeightsError."""
        self._networks.get(self._family.encoder, TransparencyEncoder.from_state_dict)

    def load_decoder(self) -> None:
        """Have the decoder ready. Raises WeightsError."""
        self._networks.get(self._family.decoder, TransparencyDecoder.from_state_dict)

    @torch.inference_mode()
    def encode(self, rgba: Uint8Image) -> Tensor:
        """Return the latent offset of RGBA uint8 [H, W, 4]: float32 [1, 4, ceil(H/8), ceil(W/8)]."""
        file, build = self._family.encoder, TransparencyEncoder.from_state_dict
        height, width = rgba.shape[:2]

        def on_device() -> Tensor:
            # the widest pair of activations: 32 channels in, 32 out, at full size
            with self._networks.get(file, build)(height * width * 64) as encoder:
                return encode_offset(encoder, rgba)

        ways = [
            ("as usual", on_device),
            ("on the CPU", lambda: encode_offset(self._networks.on_cpu(file, build), rgba)),
        ]
        doing = "encoding the transparency"
        return self._finite(
            file,
            doing,
            lambda: first_that_fits(ways, doing, self._host.free_memory, self._say)[1],
            lambda offset: bool(torch.isfinite(offset).all()),
        )

    @torch.inference_mode()
    def decode(self, latent: Tensor, picture: Uint8Image, votes: Votes) -> FloatImage:
        """Return straight-alpha RGBA float32 [H, W, 4] in [0, 1]; see `transparency.decode_rgba`.

        Shows its progress. Raises Interrupted when the user asks to stop meanwhile.
        """
        file, build = self._family.decoder, TransparencyDecoder.from_state_dict
        doing = "decoding the transparency"
        # one that was pressed while sampling asks for the picture as it is, so it does not stop the decode
        stopping = self._host.interrupted()

        def each(done: int) -> None:
            self._host.report(f"decoding the transparency: {done} of {votes.passes}", None)
            if not stopping:
                check(self._host, doing)

        votes = replace(votes, each=each)
        ways = self._decode_ways(file, build, latent, picture, votes)

        def compute() -> FloatImage:
            tried = ways[self._first_way :]
            index, rgba = first_that_fits(tried, doing, self._host.free_memory, self._say)
            # the next picture of the job is as large
            self._first_way += index
            return rgba

        try:
            return self._finite(file, doing, compute, lambda rgba: bool(np.isfinite(rgba).all()))
        finally:
            self._host.report("", None)

    def _decode_ways(
        self,
        file: WeightFile,
        build: Build[TransparencyDecoder],
        latent: Tensor,
        picture: Uint8Image,
        votes: Votes,
    ) -> list[tuple[str, Callable[[], FloatImage]]]:
        pixels = picture.shape[0] * picture.shape[1]
        single = replace(votes, at_once=1)
        # the lower half of the results so far, the newest and one to exchange with
        results = 4 * (votes.passes // 2 + 2)

        def plain(votes: Votes) -> FloatImage:
            with self._networks.get(file, build)(pixels * (512 * votes.at_once + results)) as decoder:
                return decode_rgba(decoder, latent, picture, votes)

        def in_strips() -> FloatImage:
            with self._networks.get(file, build)(pixels * (256 + results)) as decoder:
                strips = StripDecoder(decoder, STRIP, next(decoder.parameters()).device)
                return decode_rgba(decoder, latent, picture, single, strips)

        def in_main_memory() -> FloatImage:
            with self._networks.get(file, build)(STRIP * picture.shape[1] * 512 + pixels * 16) as decoder:
                strips = StripDecoder(decoder, STRIP, "cpu")
                return decode_rgba(decoder, latent, picture, replace(single, store="cpu"), strips)

        def on_cpu() -> FloatImage:
            decoder = self._networks.on_cpu(file, build)
            return decode_rgba(decoder, latent.cpu(), picture, single, StripDecoder(decoder, STRIP, "cpu"))

        ways: list[tuple[str, Callable[[], FloatImage]]] = [("as usual", lambda: plain(votes))]
        if votes.at_once > 1:
            ways.append(("one pass at a time", lambda: plain(single)))
        ways += [
            ("in strips", in_strips),
            ("in strips and main memory", in_main_memory),
            ("on the CPU", on_cpu),
        ]
        return ways

    def _finite(
        self, file: WeightFile, doing: str, compute: Callable[[], T], is_finite: Callable[[T], bool]
    ) -> T:
        result = compute()
        if not is_finite(result) and self._networks.widen(file):
            self._say(f"Numbers became too large for float16 while {doing}; doing it in float32.")
            result = compute()
        if not is_finite(result):
            raise GenerationFailed(
                f"LayerDiffuse got values that are not numbers (NaN) while {doing}, in float32 too, so there "
                f"is no picture. Replace {file.filename}, or try another seed."
            )
        return result
