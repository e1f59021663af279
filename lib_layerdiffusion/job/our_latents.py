"""Having a host take our latents for its VAE's, while one of its methods encodes pictures."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor

from lib_layerdiffusion.errors import GenerationFailed, for_user
from lib_layerdiffusion.hosts.base import Host, Job
from lib_layerdiffusion.hosts.has_vae import EncodePixels

TAKEN_AWAY = (
    "Another extension changed the VAE, or ran a job of its own, while the picture was encoded, and so its "
    "transparency was lost. Switch others off one by one to find it."
)


def for_pictures(
    host: Host,
    p: Job,
    count: int,
    encode: Callable[[int, Tensor], Tensor],
    doing: str,
    run: Callable[[], Any],
) -> Any:
    """Return `run()`, in which the host encodes `count` pictures first, one by one or several together.

    `encode(number, pixels [1, H, W, 3] in [0, 1])` returns the VAE-space latent that the host takes for
    each. All that it encodes afterwards is its own: masked pictures, another checkpoint. Raises
    LayerDiffuseError where `encode` fails, which messages call `doing`, and where the host did not ask.
    """
    encoded = 0
    with ExitStack() as place:

        def ours(vae: EncodePixels, pixels: Tensor) -> Tensor:
            nonlocal encoded
            try:
                made = [encode(encoded + n, one[None]) for n, one in enumerate(pixels)]
            except Exception as error:
                # not in a hook: this one ends the job by itself
                raise for_user(error, doing) from error
            encoded += len(made)
            if encoded >= count:
                place.close()
            return torch.cat(made)

        # the quick encoder is no VAE
        place.enter_context(host.option("sd_vae_encode_method", "Full"))
        place.enter_context(host.encode_with(p, ours))
        result = run()
    # a button may end it before
    if encoded < count and not host.broken_off():
        raise GenerationFailed(TAKEN_AWAY)
    return result
