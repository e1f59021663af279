"""Deterministic weights and inputs for the goldens of the 4-channel Qwen-Image VAE.

Extends the rule of golden_weights.py (same hash, same `unit`, `noise`, `bytes_u8`).
A parameter's name is its key in the Wan spelling ("decoder.upsamples.3.resample.1.weight"),
whatever spelling a loader uses inside. Shapes come from keys/qwen_rgba_vae.json["tensors"].

u = unit(key, shape, salt), float32 in [-1, 1):
  key ends in ".gamma"           1 + 0.25 u
  key ends in ".bias"            0.125 u
  otherwise a weight             u * float32(gain * sqrt(3 / fan_in))
     gain: "decoder.head.2" 0.6, "to_qkv" 2.0, "residual" 1.6, "resample" 0.7, all others 1.0
     fan_in: product of the dimensions after the first, without the time dimension of a 3-D convolution
Every time tap of a 3-D convolution gets values; one picture uses the last tap only, so summing the taps,
or taking the first or middle one, is far off. The four "time_conv" layers (8 tensors) have no effect on one
picture.
"""

import math

import numpy as np

from tests.goldens.golden_weights import DEFAULT_SALT, bytes_u8, noise, unit

LATENTS_MEAN = (
    -0.7571,
    -0.7089,
    -0.9113,
    0.1075,
    -0.1745,
    0.9653,
    -0.1517,
    1.5508,
    0.4134,
    -0.0715,
    0.5517,
    -0.3632,
    -0.1922,
    -0.9497,
    0.2503,
    -0.2921,
)
LATENTS_STD = (
    2.8184,
    1.4541,
    2.3275,
    2.6558,
    1.2196,
    1.7708,
    2.6052,
    2.0743,
    3.2687,
    2.1526,
    2.8652,
    1.5579,
    1.6382,
    1.1253,
    2.8251,
    1.9160,
)

GAINS = (("decoder.head.2", 0.6), ("to_qkv", 2.0), ("residual", 1.6), ("resample", 0.7))


def parameter(key, shape, salt=DEFAULT_SALT):
    """One tensor of the file: float32, C order."""
    shape = tuple(shape)
    u = unit(key, shape, salt)
    if key.endswith(".gamma"):
        return np.float32(1.0) + np.float32(0.25) * u
    if key.endswith(".bias"):
        return np.float32(0.125) * u
    gain = next((gain for part, gain in GAINS if part in key), 1.0)
    fan_in = math.prod(shape[1:]) // (shape[2] if len(shape) == 5 else 1)
    return u * np.float32(gain * math.sqrt(3.0 / fan_in))


def state_dict(shapes, salt=DEFAULT_SALT):
    """shapes: keys/qwen_rgba_vae.json["tensors"]. All 194 tensors, 127 million values, 508 MB."""
    return {key: parameter(key, shape, salt) for key, shape in shapes.items()}


def decode_input(salt=DEFAULT_SALT, height=8, width=12):
    """Latent in sampler space, [1, 16, height, width] float32 (name "rgba_vae|latent")."""
    return noise("rgba_vae|latent", (1, 16, height, width), salt)


def to_vae(latent):
    """Sampler space -> VAE space, [1, 16, h, w]."""
    shape = (1, 16, 1, 1)
    return latent * np.array(LATENTS_STD, np.float32).reshape(shape) + np.array(
        LATENTS_MEAN, np.float32
    ).reshape(shape)


def to_sampler(latent):
    """VAE space -> sampler space, [1, 16, h, w]."""
    shape = (1, 16, 1, 1)
    return (latent - np.array(LATENTS_MEAN, np.float32).reshape(shape)) / np.array(
        LATENTS_STD, np.float32
    ).reshape(shape)


def encode_input(salt=DEFAULT_SALT, height=64, width=96):
    """RGBA uint8 [height, width, 4]: blocks of 8 of random colour and alpha, noise, a clear corner."""
    coarse = bytes_u8("rgba_vae|blocks", ((height + 7) // 8, (width + 7) // 8, 4), salt)
    fine = bytes_u8("rgba_vae|grain", (height, width, 4), salt)
    big = coarse.repeat(8, 0).repeat(8, 1)[:height, :width].astype(np.int32)
    rgba = np.clip(big + fine.astype(np.int32) // 8 - 16, 0, 255).astype(np.uint8)
    rgba[: height // 4, : width // 4, 3] = 0
    rgba[height // 2 :, width // 2 :, 3] = 255
    return rgba
