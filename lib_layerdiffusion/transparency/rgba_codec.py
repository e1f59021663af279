"""RGBA pictures to latents and back by a VAE of four image channels, in spite of a full memory."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from lib_layerdiffusion.hosts.base import Host
from lib_layerdiffusion.models.rgba_vae import RgbaVae
from lib_layerdiffusion.networks import Networks
from lib_layerdiffusion.pictures.arithmetic import FloatImage, Uint8Image, pad_colour
from lib_layerdiffusion.transparency.codec import finite
from lib_layerdiffusion.transparency.memory import first_that_fits
from lib_layerdiffusion.weight_files import WeightFile

STRIP = 8
"""Latent rows at a time where memory ran out."""
PER_PIXEL = 4 * 96
"""Values beside each pixel at the widest moment: input and output of a layer, each with a copy."""


class RgbaCodec:
    """One job's VAE. `say` tells the user what became slower, and why; `low_memory` begins with strips."""

    def __init__(
        self,
        host: Host,
        networks: Networks,
        file: WeightFile,
        say: Callable[[str], None],
        low_memory: bool = False,
    ) -> None:
        self._host = host
        self._networks = networks
        self._file = file
        self._say = say
        self._low_memory = low_memory

    def load(self) -> None:
        """Have it ready, and say where the file is not what it may be. Raises WeightsError."""
        self._networks.resident(self._file, RgbaVae.from_state_dict)
        size = self._networks.store.path(self._file).stat().st_size
        other = dict(self._file.others).get(size)
        if other is not None:
            self._say(
                f"{self._file.filename} has the size of {other}, which has the same tensors and is for "
                "another model. If pictures look wrong, delete it to have the right one fetched."
            )

    @torch.inference_mode()
    def encode(self, rgba: Uint8Image) -> Tensor:
        """Return the VAE-space latent of RGBA uint8 [H, W, 4] as float32 [1, C, H/8, W/8].

        Sides are multiples of 8. Colours go on under what is transparent; what the network
        was trained to see there is not known.
        """
        x = network_input(rgba)[None]
        doing = "encoding the transparent picture"

        def encode(network: RgbaVae, rows: int | None) -> Tensor:
            return network.encode(_like(network, x), rows).float().cpu()

        return self._run(encode, doing, rgba.shape[0] * rgba.shape[1])

    @torch.inference_mode()
    def decode(self, latent: Tensor) -> FloatImage:
        """Return straight-alpha RGBA float32 [8h, 8w, 4] in [0, 1] of a VAE-space latent [C, h, w]."""
        doing = "decoding the transparency"

        def decode(network: RgbaVae, rows: int | None) -> Tensor:
            pixels = network.decode(_like(network, latent[None]), rows)[0]
            return ((pixels.float() + 1) / 2).permute(1, 2, 0).cpu()

        self._host.report(doing, None)
        try:
            pixels = self._run(decode, doing, 64 * latent.shape[-2] * latent.shape[-1])
        finally:
            self._host.report("", None)
        return pixels.clamp(0, 1).numpy()

    def _run(self, compute: Callable[[RgbaVae, int | None], Tensor], doing: str, pixels: int) -> Tensor:
        build = RgbaVae.from_state_dict

        def on_device(rows: int | None) -> Tensor:
            share = 1.0 if rows is None else 0.3
            with self._networks.resident(self._file, build)(int(pixels * PER_PIXEL * share)) as network:
                return compute(network, rows)

        ways = [
            ("as usual", lambda: on_device(None)),
            ("in strips", lambda: on_device(STRIP)),
            ("on the CPU", lambda: compute(self._networks.on_cpu(self._file, build), STRIP)),
        ]
        if self._low_memory:
            del ways[0]
        return finite(
            self._networks,
            self._say,
            self._file,
            doing,
            lambda: first_that_fits(ways, doing, self._host.free_memory, self._say)[1],
            lambda result: bool(torch.isfinite(result).all()),
        )


def network_input(rgba: Uint8Image) -> Tensor:
    """Return what the network encodes of RGBA uint8 [H, W, 4]: float32 [4, H, W] in [-1, 1], alpha last."""
    alpha = rgba[..., 3:].astype(np.float32) / np.float32(255)
    x = torch.from_numpy(np.concatenate([pad_colour(rgba), alpha], axis=2)).permute(2, 0, 1)
    return 2 * x - 1


def _like(network: RgbaVae, x: Tensor) -> Tensor:
    parameter = next(network.parameters())
    return x.to(device=parameter.device, dtype=parameter.dtype)
