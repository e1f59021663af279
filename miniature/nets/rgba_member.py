"""The miniature's member of the families whose VAE has four image channels.

Its base model is a UNet over sixteen latent channels with an ordinary VAE of that kind; its files are a VAE
of RGBA pictures and a LoRA. Those of random weights have the published spelling with convolutions in time.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lib_layerdiffusion.models.rgba_vae import RgbaVae
from miniature.nets.random_weights import ATTENTION_WEIGHT, BaseModel, draw, shapes_of
from miniature.nets.text_encoder import TextEncoder
from miniature.nets.unet import UNet, UNetConfig

CHANNELS = 16
WIDTH = 8
CONFIG = UNetConfig(in_channels=CHANNELS, out_channels=CHANNELS)
RANK = 4
FRAMES = 3
"""Taps that a convolution in time has."""


class SixteenChannelVae(RgbaVae):
    """The host's own VAE, of opaque pictures: what jobs of the miniature WebUI ask of one."""

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__(WIDTH, CHANNELS, image=3)
        steps = torch.arange(CHANNELS).view(1, -1, 1, 1)
        # as the published ones: apart from channel to channel
        self.register_buffer("mean", 0.1 * (steps - 8.0), persistent=False)
        self.register_buffer("std", 1.0 + 0.1 * steps, persistent=False)

    def moments(self, pixels: Tensor, rows: int | None = None) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        mean, logvar = super().moments(pixels, rows).chunk(2, dim=1)
        # such hosts take the mean
        return mean, torch.full_like(logvar, -30.0)

    def process_in(self, z: Tensor) -> Tensor:
        return (z - self.mean) / self.std

    def process_out(self, z: Tensor) -> Tensor:
        return z * self.std + self.mean


@torch.no_grad()
def ordinary(vae: RgbaVae) -> SixteenChannelVae:
    """The VAE of opaque pictures with the same latents: alpha is 1 on the way in, and left out after.

    On the device of `vae`.
    """
    state = dict(vae.state_dict())
    first, last = "encoder.conv1", "decoder.head.2"
    weight = state[f"{first}.weight"]
    state[f"{first}.bias"] = state[f"{first}.bias"] + weight[:, 3].sum((1, 2))
    state[f"{first}.weight"] = weight[:, :3]
    state |= {f"{last}.{part}": state[f"{last}.{part}"][:3] for part in ("weight", "bias")}
    made = SixteenChannelVae().to(weight.device)
    made.load_state_dict(state)
    return made.eval().requires_grad_(False)


@torch.no_grad()
def with_constants(vae: RgbaVae, mean: Tensor, std: Tensor) -> RgbaVae:
    """Fold into a VAE that latents of this mean and deviation, [16] each, get the constants of the family.

    Pictures stay the same. The 1x1 convolutions beside the latent are changed in place.
    """
    family = SixteenChannelVae()
    scale = family.std.flatten() / std
    offset = family.mean.flatten() - mean * scale
    first, second = vae.conv1, vae.conv2
    assert first.bias is not None
    assert second.bias is not None
    first.weight[:CHANNELS] *= scale[:, None, None, None]
    first.bias[:CHANNELS] = first.bias[:CHANNELS] * scale + offset
    first.bias[CHANNELS:] += 2 * scale.log()
    second.weight /= scale[:, None, None]
    second.bias -= second.weight[..., 0, 0] @ offset
    return vae


def _tensor(key: str, shape: tuple[int, ...], seed: int) -> Tensor:
    if key.endswith(".gamma"):
        return 1 + draw(shape, 0.1, seed, "rgba", key)
    if len(shape) == 1:
        return draw(shape, 0.05, seed, "rgba", key)
    gain = 0.5 if "head" in key else 1.3
    return draw(shape, gain / math.sqrt(math.prod(shape[1:])), seed, "rgba", key)


def vae_state_dict(seed: int, image: int) -> dict[str, Tensor]:
    """Float32 weights of a VAE with so many image channels, by their plain names."""
    shapes = shapes_of(lambda: RgbaVae(WIDTH, CHANNELS, image))
    return {key: _tensor(key, shape, seed) for key, shape in shapes.items()}


def together(unet: UNet, vae: SixteenChannelVae, text: TextEncoder) -> BaseModel:
    """The base model of these networks, in evaluation mode."""
    for network in (unet, vae, text):
        network.eval().requires_grad_(False)
    # it can what jobs ask of an AutoencoderKL
    return BaseModel(unet, vae, text)  # type: ignore[arg-type]


def base_model(seed: int) -> BaseModel:
    """The base model, in evaluation mode."""
    unet, vae, text = UNet(CONFIG), SixteenChannelVae(), TextEncoder()
    for network in (unet, text):
        state = {
            key: _tensor(key, tuple(value.shape), seed)
            if value.ndim > 1
            else draw(tuple(value.shape), 0.02, seed, key) + float(key.endswith(".weight"))
            for key, value in network.state_dict().items()
        }
        network.load_state_dict(state)
    vae.load_state_dict(vae_state_dict(seed, 3))
    return together(unet, vae, text)


def in_time(state: dict[str, Tensor], seed: int) -> dict[str, Tensor]:
    """Return plain weights as the published file has them: kernels in time, and `time_conv` beside."""
    timed = {}
    for key, value in state.items():
        if key.endswith(".gamma"):
            own = "norm.gamma" in key
            timed[key] = value if own else value[..., None]
        elif value.ndim == 4 and "resample" not in key and "to_qkv" not in key and "proj" not in key:
            taps = FRAMES if value.shape[-1] > 1 else 1
            before = [draw(tuple(value.shape), 1.0, seed, key, tap) for tap in range(taps - 1)]
            timed[key] = torch.stack([*before, value], dim=2)
        else:
            timed[key] = value
    timed["decoder.upsamples.3.time_conv.bias"] = torch.zeros(2)
    return timed


def tensors(seed: int) -> dict[str, dict[str, Tensor]]:
    """The float16 tensors of the two files, by file name without suffix and by key."""
    vae = vae_state_dict(seed, 4)
    # about half of all pixels show something
    vae["decoder.head.2.bias"] = torch.tensor([0.0, 0.0, 0.0, 0.2])
    lora = {}
    for key, (out_features, *in_features) in shapes_of(lambda: UNet(CONFIG)).items():
        if ATTENTION_WEIGHT.search(key):
            part = f"diffusion_model.{key.removesuffix('.weight')}"
            up, down = (out_features, RANK), (RANK, *in_features)
            lora[f"{part}.lora_B.weight"] = draw(up, 0.4 / math.sqrt(RANK), seed, key, "up")
            lora[f"{part}.lora_A.weight"] = draw(down, 1.0 / math.sqrt(*in_features), seed, key, "down")
    files = {"anima_rgba_vae": in_time(vae, seed), "anima_rgba_lora": lora}
    return {name: {key: value.half() for key, value in file.items()} for name, file in files.items()}
