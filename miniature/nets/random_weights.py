"""Random weights for every part of the miniature, the same (but for rounding) on every machine.

Each tensor has its own generator, seeded from the seed, the file and the key, so a tensor does not
depend on which others are made. Spreads follow the fan-in: activations stay finite and of order one, and
results are noise that depends on every input and every layer file.
"""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from lib_layerdiffusion.models.attention_sharing import UNIT_MODULES
from miniature.nets.autoencoder import AutoencoderKL
from miniature.nets.text_encoder import TextEncoder
from miniature.nets.unet import SD15_MINIATURE, SDXL_MINIATURE, UNet, UNetConfig

Shapes = dict[str, tuple[int, ...]]
Gains = tuple[tuple[str, float], ...]
# Key, shape and standard deviation of each tensor of a file.
Patch = Iterator[tuple[str, tuple[int, ...], float]]

UNET_PREFIX = "model.diffusion_model."
VAE_PREFIX = "first_stage_model."
TEXT_PREFIX = "conditioner.embedders.0."
LATENT_SCALE = 1.0 / AutoencoderKL.scaling_factor

# The first pattern found in a key tells how much the layer amplifies its input; others keep it as it is.
BASE_GAINS: Gains = (
    (r"model\.out\.2|mlp\.2|attention\.out_proj", 1.6),
    (r"ff\.net\.2|\.conv2", 0.5),
    (r"emb_layers|label_emb|attn2", 2.0),
    (r"token_embedding", 8.0),
    (r"position_embedding", 2.0),
    # Gains that give the autoencoder's latents the large scale they have in SDXL.
    (r"\.quant_conv", LATENT_SCALE),
    (r"post_quant_conv", 1.0 / LATENT_SCALE),
)
TRANSPARENCY_GAINS: Gains = (
    (r"^blocks\.\d+\.weight", 1.75),
    (r"conv_out", 0.33),
    (r"latent_conv_in", 0.25),
    (r"conv_in", 2.0),
    (r"conv2", 0.5),
)
ATTENTION_WEIGHT = re.compile(r"attn[12]\.(to_[qkv]|to_out\.0)\.weight$")
RES_CONVOLUTION = re.compile(r"(in_layers\.2|out_layers\.3|skip_connection)\.(weight|bias)$")
LAST_CONVOLUTION = re.compile(r"out_layers\.3\.(weight|bias)$")
FIRST_CONVOLUTION = "input_blocks.0.0."

# The released decoder has (32, 32, 64, 128, 256, 512, 512).
DECODER_WIDTHS = (4, 4, 8, 16, 16, 24, 24)
ATTENTION_LEVELS = (4, 5, 6)
ENCODER_WIDTHS = (4, 32, 32, 64, 64, 128, 128, 256, 256, 4)


class BaseModel(NamedTuple):
    unet: UNet
    vae: AutoencoderKL
    text: TextEncoder


def shapes_of(build: Callable[[], nn.Module]) -> Shapes:
    """Parameter names and shapes of the module that `build` makes, without memory for them."""
    with torch.device("meta"):
        return {key: tuple(value.shape) for key, value in build().state_dict().items()}


def draw(shape: tuple[int, ...], std: float, *names: object) -> Tensor:
    """Normal float32 values that depend on the shape and the names alone."""
    generator = torch.Generator().manual_seed(zlib.crc32("|".join(map(str, names)).encode()))
    return torch.randn(shape, generator=generator) * std


def _parameter(key: str, shape: tuple[int, ...], gains: Gains, seed: int, file: str) -> Tensor:
    if len(shape) == 1:
        is_norm_weight = key.endswith(".weight")
        return draw(shape, 0.02, seed, file, key) + float(is_norm_weight)
    gain = next((gain for pattern, gain in gains if re.search(pattern, key)), 1.0)
    return draw(shape, gain / math.sqrt(math.prod(shape[1:])), seed, file, key)


def base_state_dict(seed: int, config: UNetConfig = SDXL_MINIATURE) -> dict[str, Tensor]:
    """All float32 weights of UNet, autoencoder and text encoder, with the prefixes of an SDXL checkpoint."""
    parts: tuple[tuple[str, Callable[[], nn.Module]], ...] = (
        (UNET_PREFIX, lambda: UNet(config)),
        (VAE_PREFIX, AutoencoderKL),
        (TEXT_PREFIX, TextEncoder),
    )
    shapes = {prefix + key: shape for prefix, build in parts for key, shape in shapes_of(build).items()}
    state = {key: _parameter(key, shape, BASE_GAINS, seed, "base") for key, shape in shapes.items()}
    # Only the mean has the large scale; its second half, the log variance, stays of order one.
    state[f"{VAE_PREFIX}quant_conv.weight"].chunk(2)[1].div_(LATENT_SCALE)
    return state


def load_base(state: Mapping[str, Tensor], config: UNetConfig = SDXL_MINIATURE) -> BaseModel:
    """Build the three networks from a state dict laid out like `base_state_dict`'s, in evaluation mode."""

    def fill(module: nn.Module, prefix: str) -> None:
        module.load_state_dict({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)})
        module.eval()

    model = BaseModel(UNet(config), AutoencoderKL(), TextEncoder())
    for module, prefix in zip(model, (UNET_PREFIX, VAE_PREFIX, TEXT_PREFIX), strict=True):
        fill(module, prefix)
    return model


def _lora(unet: Shapes, rank: int = 8) -> Patch:
    """Two factors per attention projection: 0 is up [out, rank], 1 is down [rank, in]."""
    for key, (out_features, *in_features) in unet.items():
        if ATTENTION_WEIGHT.search(key):
            yield f"{key}::lora::0", (out_features, rank), 0.4 / math.sqrt(rank)
            yield f"{key}::lora::1", (rank, *in_features), 1.0 / math.sqrt(*in_features)


def _offsets(unet: Shapes, convolutions: re.Pattern[str], in_channels: int) -> Patch:
    """Offsets of residual block convolutions, and of the first convolution at `in_channels` inputs."""
    weight, bias = f"{FIRST_CONVOLUTION}weight", f"{FIRST_CONVOLUTION}bias"
    width, _, *kernel = unet[weight]
    yield f"{weight}::diff::0", (width, in_channels, *kernel), 0.5 / math.sqrt(4 * math.prod(kernel))
    yield f"{bias}::diff::0", unet[bias], 0.05
    for key, shape in unet.items():
        if convolutions.search(key):
            std = 0.05 if len(shape) == 1 else 0.2 / math.sqrt(math.prod(shape[1:]))
            yield f"{key}::diff::0", shape, std


def encoder_shapes() -> Shapes:
    """Names and shapes of the transparency encoder: convolutions at the even indices of a chain."""
    shapes: Shapes = {}
    for index, (i, o) in enumerate(pairwise(ENCODER_WIDTHS)):
        shapes |= {f"blocks.{2 * index}.weight": (o, i, 3, 3), f"blocks.{2 * index}.bias": (o,)}
    return shapes


def decoder_shapes(widths: tuple[int, ...] = DECODER_WIDTHS) -> Shapes:
    """Names and shapes of the transparency decoder with these channels per level, finest first."""
    shapes: Shapes = {}

    def add(key: str, *shape: int) -> None:
        shapes[f"{key}.weight"], shapes[f"{key}.bias"] = shape, shape[:1]

    def resnet(key: str, i: int, o: int) -> None:
        add(f"{key}.norm1", i)
        add(f"{key}.conv1", o, i, 3, 3)
        add(f"{key}.norm2", o)
        add(f"{key}.conv2", o, o, 3, 3)
        if i != o:
            add(f"{key}.conv_shortcut", o, i, 1, 1)

    def attention(key: str, c: int) -> None:
        add(f"{key}.group_norm", c)
        for projection in ("to_q", "to_k", "to_v", "to_out.0"):
            add(f"{key}.{projection}", c, c)

    add("conv_in", widths[0], 3, 3, 3)
    # The latent joins at an eighth of the picture, before level 3 changes the width.
    add("latent_conv_in", widths[2], 4, 1, 1)
    current, skips, coarsest = widths[0], [widths[0]], len(widths) - 1
    for level, width in enumerate(widths):
        block = f"down_blocks.{level}"
        for index in range(2):
            resnet(f"{block}.resnets.{index}", current, width)
            if level in ATTENTION_LEVELS:
                attention(f"{block}.attentions.{index}", width)
            current = width
            skips.append(width)
        if level < coarsest:
            add(f"{block}.downsamplers.0.conv", width, width, 3, 3)
            skips.append(width)
    for index in range(2):
        resnet(f"mid_block.resnets.{index}", current, current)
    attention("mid_block.attentions.0", current)
    for level in range(coarsest, -1, -1):
        block, width = f"up_blocks.{coarsest - level}", widths[level]
        for index in range(3):
            resnet(f"{block}.resnets.{index}", current + skips.pop(), width)
            if level in ATTENTION_LEVELS:
                attention(f"{block}.attentions.{index}", width)
            current = width
        if level:
            add(f"{block}.upsamplers.0.conv", width, width, 3, 3)
    add("conv_norm_out", current)
    add("conv_out", 4, current, 3, 3)
    return shapes


def sharing_shapes(unet: Shapes, frames: int, control: bool, rank: int = 8, width: int = 16) -> Shapes:
    """Key table of an attention sharing file for a UNet; the released ones have rank and width 256."""
    shapes: Shapes = {}

    def add(key: str, *shape: int) -> None:
        shapes[f"{key}.weight"] = shape
        shapes[f"{key}.bias"] = shape[:1]

    for n, module in enumerate(UNIT_MODULES):
        unit = f"hookers.layers.{n}"
        hidden, context = unet[f"{module}.to_k.weight"]
        for name in ("q", "k", "v", "out"):
            in_features = context if name in "kv" else hidden
            for frame in range(frames):
                shapes[f"{unit}.to_{name}_lora.{frame}.down.weight"] = rank, in_features
                shapes[f"{unit}.to_{name}_lora.{frame}.up.weight"] = hidden, rank
        add(f"{unit}.temporal_n", hidden)
        for name in "iqkvo":
            add(f"{unit}.temporal_{name}", hidden, hidden)
        for frame in range(frames if control else 0):
            add(f"{unit}.control_convs.{frame}.0", width, width, 3, 3)
            add(f"{unit}.control_convs.{frame}.2", hidden, width, 1, 1)
    if control:
        channels = [3, 8, 8, 8, 8, *[width] * 4]
        for n in range(8):
            add(f"kwargs_encoder.blocks_0.{2 * n}", channels[n + 1], channels[n], 3, 3)
        for stage in (1, 2, 3):
            for n in (0, 2):
                add(f"kwargs_encoder.blocks_{stage}.{n}", width, width, 3, 3)
    return shapes


def sd15_tensors(seed: int, config: UNetConfig = SD15_MINIATURE) -> dict[str, dict[str, Tensor]]:
    """The float16 tensors of the six SD1.5 layer files, by file name without suffix and by key."""
    unet = shapes_of(lambda: UNet(config))
    networks = {
        "layer_sd15_transparent_attn": sharing_shapes(unet, 1, False),
        "layer_sd15_fg2bg": sharing_shapes(unet, 2, True),
        "layer_sd15_bg2fg": sharing_shapes(unet, 2, True),
        "layer_sd15_joint": sharing_shapes(unet, 3, False),
        "layer_sd15_vae_transparent_encoder": encoder_shapes(),
        "layer_sd15_vae_transparent_decoder": decoder_shapes(),
    }
    files = {
        name: {key: _parameter(key, shape, TRANSPARENCY_GAINS, seed, name) for key, shape in shapes.items()}
        for name, shapes in networks.items()
    }
    files["layer_sd15_vae_transparent_decoder"]["conv_out.bias"] += 0.5
    return {name: {key: value.half() for key, value in file.items()} for name, file in files.items()}


def layer_tensors(seed: int, config: UNetConfig = SDXL_MINIATURE) -> dict[str, dict[str, Tensor]]:
    """The float16 tensors of the eight SDXL layer files, by file name without suffix and by key."""
    unet = shapes_of(lambda: UNet(config))
    patches = {
        "layer_xl_transparent_attn": _lora(unet),
        "layer_xl_transparent_conv": _offsets(unet, RES_CONVOLUTION, config.in_channels),
        "layer_xl_fg2ble": _offsets(unet, LAST_CONVOLUTION, 2 * config.in_channels),
        "layer_xl_bg2ble": _offsets(unet, LAST_CONVOLUTION, 2 * config.in_channels),
        "layer_xl_fgble2bg": _offsets(unet, LAST_CONVOLUTION, 3 * config.in_channels),
        "layer_xl_bgble2fg": _offsets(unet, LAST_CONVOLUTION, 3 * config.in_channels),
    }
    networks = {"vae_transparent_encoder": encoder_shapes(), "vae_transparent_decoder": decoder_shapes()}
    files = {
        name: {f"diffusion_model.{key}": draw(shape, std, seed, name, key) for key, shape, std in patch}
        for name, patch in patches.items()
    }
    for name, shapes in networks.items():
        files[name] = {
            key: _parameter(key, shape, TRANSPARENCY_GAINS, seed, name) for key, shape in shapes.items()
        }
    files["vae_transparent_decoder"]["conv_out.bias"] += 0.5
    return {name: {key: value.half() for key, value in file.items()} for name, file in files.items()}


def layer_files(folder: Path, seed: int) -> list[Path]:
    """Write the sixteen files as float16 into `folder`, which is made if missing."""
    from miniature.nets import rgba_member

    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    files = layer_tensors(seed) | sd15_tensors(seed) | rgba_member.tensors(seed)
    for name, tensors in files.items():
        paths.append(folder / f"{name}.safetensors")
        save_file(tensors, str(paths[-1]), metadata={"format": "pt"})
    return paths
