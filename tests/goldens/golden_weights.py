"""Deterministic tensors for the goldens: a function of (salt, name, flat index) only.

No random generator of any library is involved, only 32-bit integer arithmetic
and one exactly rounded float32 multiply, so every implementation (numpy, torch,
C, JavaScript ...) gets the same bits.
"""

import hashlib
import math

import numpy as np

DEFAULT_SALT = "public-1"


def _hash32(salt, name, count):
    seed = int.from_bytes(hashlib.sha256(f"{salt}|{name}".encode()).digest()[:4], "little")
    x = (np.arange(count, dtype=np.uint64) * 2654435761 + seed) & 0xFFFFFFFF
    x ^= x >> 16
    x = (x * 0x85EBCA6B) & 0xFFFFFFFF
    x ^= x >> 13
    x = (x * 0xC2B2AE35) & 0xFFFFFFFF
    return x ^ (x >> 16)


def unit(name, shape, salt=DEFAULT_SALT):
    """float32 in [-1, 1), multiples of 2**-23, C order."""
    x = (_hash32(salt, name, math.prod(shape)) >> 8).astype(np.float32)
    return (x * np.float32(2.0**-23) - np.float32(1.0)).reshape(shape)


def noise(name, shape, salt=DEFAULT_SALT):
    """unit() times float32(sqrt(3)): mean 0, variance 1, uniform."""
    return unit(name, shape, salt) * np.float32(math.sqrt(3.0))


def bytes_u8(name, shape, salt=DEFAULT_SALT):
    """uint8 0..255, the top 8 bits of the hash, C order."""
    return (_hash32(salt, name, math.prod(shape)) >> 24).astype(np.uint8).reshape(shape)


def parameter(key, shape, salt=DEFAULT_SALT):
    """One parameter of a state dict."""
    u = unit(key, shape, salt)
    if key == "conv_out.weight":  # last layer of the transparent decoder:
        gain = 0.5  # keeps the outputs inside 0..1 mostly
    elif key == "conv_out.bias":
        return np.float32(0.5) + np.float32(0.125) * u
    elif len(shape) == 1:
        if key.endswith("weight"):  # normalisation scale
            return np.float32(1.0) + np.float32(0.25) * u
        return np.float32(0.125) * u  # any bias
    elif "samplers." in key:  # down- and upsampling convolutions
        gain = 0.7 if "down" in key else 1.0
    elif "conv_shortcut" in key:
        gain = 1.4
    else:
        gain = 1.6 if len(shape) == 4 else 1.0  # other convolution / linear
    fan_in = math.prod(shape[1:])
    return u * np.float32(gain * math.sqrt(3.0 / fan_in))


def state_dict(shapes, salt=DEFAULT_SALT):
    """shapes: {key: shape}, for example one of spec/keys/*.json["tensors"]."""
    return {k: parameter(k, tuple(s), salt) for k, s in shapes.items()}
