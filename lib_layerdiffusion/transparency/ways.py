"""The ways to compute a transparent decode on a device: fastest first, each later one with less memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lib_layerdiffusion.models.blocks import ORDER_PAYS
from lib_layerdiffusion.models.encoder_and_decoder import TransparencyDecoder
from lib_layerdiffusion.models.strips import StripDecoder
from lib_layerdiffusion.pictures.arithmetic import FloatImage, Uint8Image
from lib_layerdiffusion.transparency.latents import decode_rgba
from lib_layerdiffusion.transparency.voting import Votes

CACHED_STRIP = 1 << 20
"""Activations that stay in a processor's cache from one operation to the next."""

STRIP = 1 << 22
"""Activations that keep an accelerator busy."""

WHOLE_VALUES, STORED_VALUES = 352, 224
"""Activations per pixel that exist at once in a pass: as a whole, and in strips beside the strips."""

KEPT_VALUES, STRIP_COPIES = 8, 18
"""Activations per pixel, and strips, that are on a device whose wide layers are stored elsewhere.

All of these are counted by `benchmarks.decode_memory`.
"""


TOGETHER = 1024 * 1024
"""Pixels of the passes that an accelerator computes in one batch, as many as one pass of a large picture has.
One by one, the passes of a small picture leave it waiting for the next kernel."""


@dataclass(frozen=True)
class Way:
    """One way, and what it needs: `values` of the decoder's dtype on the compute device, beside the network.

    `strip` is how many activations are computed at once, None for all of them; `store` where the others are
    kept, None for the compute device. `own_copy`: with a float32 copy of the network on the CPU.
    """

    name: str
    values: int
    votes: Votes
    strip: int | None = None
    store: str | None = None
    own_copy: bool = False

    def decode(self, decoder: TransparencyDecoder, latent: Tensor, picture: Uint8Image) -> FloatImage:
        """Do as `latents.decode_rgba`, which has the arguments and the result."""
        run: Callable[[Tensor, Tensor], Tensor] = decoder
        if self.strip is not None:
            device = next(decoder.parameters()).device
            run = StripDecoder(decoder, self.strip, self.store or device)
        return decode_rgba(decoder, latent, picture, self.votes, run)


def ways(device: torch.device, height: int, width: int, votes: Votes, low_memory: bool = False) -> list[Way]:
    """Return the ways for a picture of height x width pixels, for one after the other to be tried.

    `low_memory` leaves out those that have all activations of the picture at once. An accelerator computes as
    many passes at once as TOGETHER says, no fewer than `votes` say, and one by one where they are adaptive.
    """
    pixels = height * width
    if device.type != "cpu" and not votes.adaptive:
        votes = replace(votes, at_once=min(votes.passes, max(votes.at_once, TOGETHER // pixels)))
    single = replace(votes, at_once=1)
    # the lower half of the results so far, the newest, and one to exchange with
    results = pixels * 4 * (votes.passes // 2 + 2)
    own_copy = Way("on the CPU", 0, single, CACHED_STRIP, own_copy=True)
    in_strips = pixels * STORED_VALUES + results
    if device.type == "cpu":
        strip = CACHED_STRIP if pixels >= ORDER_PAYS else None
        return [Way("as usual", in_strips + STRIP_COPIES * CACHED_STRIP, single, strip), own_copy]
    found = []
    if not low_memory:
        found.append(Way("as usual", pixels * WHOLE_VALUES * votes.at_once + results, votes))
        if votes.at_once > 1:
            found.append(Way("one pass at a time", pixels * WHOLE_VALUES + results, single))
    return [
        *found,
        Way("in strips", in_strips + STRIP_COPIES * STRIP, single, STRIP),
        Way(
            "in strips and main memory",
            pixels * KEPT_VALUES + STRIP_COPIES * STRIP,
            replace(single, store="cpu"),
            STRIP,
            "cpu",
        ),
        own_copy,
    ]
