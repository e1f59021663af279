"""RGBA to latent and back: the offset that hides transparency in a latent, and its decode."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lib_layerdiffusion.models.encoder_and_decoder import (
    DECODER_MULTIPLE,
    LATENT_SCALE,
    TransparencyDecoder,
    TransparencyEncoder,
)
from lib_layerdiffusion.pictures.arithmetic import FloatImage, Uint8Image, pad_colour
from lib_layerdiffusion.transparency.voting import PLAIN, Decode, Votes, vote


def _as_input(network: torch.nn.Module, x: Tensor, device: torch.device | str | None = None) -> Tensor:
    parameter = next(network.parameters())
    return x.to(device=device or parameter.device, dtype=parameter.dtype)


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


def _pad(x: Tensor, height: int, width: int) -> Tensor:
    missing = (0, width - x.shape[-1], 0, height - x.shape[-2])
    return F.pad(x, missing, mode="replicate") if any(missing) else x


def decode_rgba(
    decoder: TransparencyDecoder,
    latent: Tensor,
    picture: Uint8Image,
    votes: Votes = PLAIN,
    decode: Decode | None = None,
) -> FloatImage:
    """Return straight-alpha RGBA float32 [H, W, 4] in [0, 1] for a generated picture.

    latent [4, h, w] in VAE space, picture RGB uint8 [H, W, 3] of any size. Where H or W is no multiple of 64
    both are extended by their border inside, and the result is cut back. A latent of another size than the
    picture's (one that was pasted into a larger picture, say) cannot be aligned and counts as all zero.
    `decode` computes what `decoder` does, in another way; its inputs are where `votes` have the results kept.
    """
    height, width = picture.shape[:2]
    full_height, full_width = (-(-side // DECODER_MULTIPLE) * DECODER_MULTIPLE for side in (height, width))
    if tuple(latent.shape[-2:]) != (height // LATENT_SCALE, width // LATENT_SCALE):
        latent = latent.new_zeros(4, full_height // LATENT_SCALE, full_width // LATENT_SCALE)
    pixel = torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)[None].float() / 255
    pixel = _pad(pixel, full_height, full_width)
    latent = _pad(latent[None].float(), full_height // LATENT_SCALE, full_width // LATENT_SCALE)
    pixel, latent = (_as_input(decoder, x, votes.store) for x in (pixel, latent))
    alpha_rgb = vote(decode or decoder, pixel, latent, votes)[:, :height, :width]
    return alpha_rgb[[1, 2, 3, 0]].permute(1, 2, 0).cpu().numpy()
