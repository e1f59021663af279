"""RGBA to latent and back: the offset that hides transparency in a latent, and its decode by vote."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lib_layerdiffusion.images import FloatImage, Uint8Image, pad_colour
from lib_layerdiffusion.models.transparency import (
    DECODER_MULTIPLE,
    TransparencyDecoder,
    TransparencyEncoder,
)

LATENT_SCALE = 8
"""Pixels per latent position and side."""


def _as_input(network: torch.nn.Module, x: Tensor) -> Tensor:
    parameter = next(network.parameters())
    return x.to(device=parameter.device, dtype=parameter.dtype)


def encode_offset(encoder: TransparencyEncoder, rgba: Uint8Image) -> Tensor:
    """Return the latent offset of RGBA uint8 [H, W, 4] as float32 [1, 4, ceil(H/8), ceil(W/8)].

    Runs on the encoder's device and in its dtype.
    """
    alpha = rgba[..., 3:].astype(np.float32) / np.float32(255)
    channels = np.concatenate([alpha, pad_colour(rgba)], axis=2)
    x = torch.from_numpy(channels).permute(2, 0, 1)[None]
    return encoder(_as_input(encoder, x)).float()


def add_offset(mean: Tensor, logvar: Tensor, offset: Tensor) -> Tensor:
    """Put the offset in the place of the posterior's noise: mean + std * offset.

    All [B, 4, h, w] (the offset may have batch 1); log variances are clamped to [-30, 20]. An offset of a
    picture whose sides are no multiples of 8 is larger by one and is cut to the latent's size.
    """
    offset = offset[..., : mean.shape[-2], : mean.shape[-1]].to(mean)
    return mean + torch.exp(0.5 * logvar.clamp(-30, 20)) * offset


def _orient(x: Tensor, flip: bool, turns: int) -> Tensor:
    return torch.rot90(x.flip(-1) if flip else x, turns, (-2, -1))


def _orient_back(x: Tensor, flip: bool, turns: int) -> Tensor:
    x = torch.rot90(x, -turns, (-2, -1))
    return x.flip(-1) if flip else x


def vote(decoder: TransparencyDecoder, pixel: Tensor, latent: Tensor, passes: int = 8) -> Tensor:
    """Decode in `passes` of the eight orientations and take, per value, their lower median.

    pixel [1, 3, H, W] in [0, 1], latent [1, 4, H/8, W/8] in VAE space, H and W multiples of 64.
    Returns float32 [4, H, W] (alpha, R, G, B) in [0, 1].
    """
    pixel, latent = _as_input(decoder, pixel), _as_input(decoder, latent)
    results = []
    for flip in (False, True)[: max(1, passes // 4)]:
        for turns in range(4)[: min(4, passes)]:
            result = decoder(_orient(pixel, flip, turns), _orient(latent, flip, turns))
            results.append(_orient_back(result.float().clamp(0, 1), flip, turns)[0])
    # two dimensions: Apple's backend has no median along an axis of a five-dimensional stack
    stack = torch.stack(results).flatten(1)
    return stack.median(dim=0).values.reshape(results[0].shape)


def _pad(x: Tensor, height: int, width: int) -> Tensor:
    missing = (0, width - x.shape[-1], 0, height - x.shape[-2])
    return F.pad(x, missing, mode="replicate") if any(missing) else x


def decode_rgba(
    decoder: TransparencyDecoder, latent: Tensor, picture: Uint8Image, passes: int = 8
) -> FloatImage:
    """Return straight-alpha RGBA float32 [H, W, 4] in [0, 1] for a generated picture.

    latent [4, h, w] in VAE space, picture RGB uint8 [H, W, 3] of any size. Where H or W is no multiple of 64
    both are extended by their border inside, and the result is cut back. A latent of another size than the
    picture's (one that was pasted into a larger picture, say) cannot be aligned and counts as all zero.
    """
    height, width = picture.shape[:2]
    full_height, full_width = (-(-side // DECODER_MULTIPLE) * DECODER_MULTIPLE for side in (height, width))
    if tuple(latent.shape[-2:]) != (height // LATENT_SCALE, width // LATENT_SCALE):
        latent = latent.new_zeros(4, full_height // LATENT_SCALE, full_width // LATENT_SCALE)
    pixel = torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)[None].float() / 255
    pixel = _pad(pixel, full_height, full_width)
    latent = _pad(latent[None].float(), full_height // LATENT_SCALE, full_width // LATENT_SCALE)
    alpha_rgb = vote(decoder, pixel, latent, passes)[:, :height, :width]
    return alpha_rgb[[1, 2, 3, 0]].permute(1, 2, 0).cpu().numpy()
