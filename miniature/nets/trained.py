"""The trained family: three base models and the files for them, as small as they fit into a repository."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from lib_layerdiffusion.files import tensors
from lib_layerdiffusion.methods import ANIMA, FOLDER, SD15, SDXL, Family
from lib_layerdiffusion.models.rgba_vae import RgbaVae
from miniature.nets.random_weights import TEXT_PREFIX, UNET_PREFIX, BaseModel, load_base
from miniature.nets.rgba_member import CHANNELS, ordinary, together
from miniature.nets.text_encoder import TextEncoder
from miniature.nets.unet import UNet, UNetConfig
from miniature.webui.patcher import PREFIX

WEIGHTS = Path(__file__).parents[1] / "weights"
BASE = WEIGHTS / "base.safetensors"
BASE_SD15 = WEIGHTS / "base_sd15.safetensors"
"""The UNet in SD1.5's layout alone: autoencoder and text encoder are those of the other."""

BASE_ANIMA = WEIGHTS / "base_anima.safetensors"
"""The UNet over sixteen channels alone: the text encoder is the other's, the VAE part of the RGBA VAE."""

DRIFTED = WEIGHTS / "drifted.safetensors"
"""A LoRA on the base, which makes it a checkpoint that drifted; see training/drift_stage.py."""

LAYER_FILES = WEIGHTS / FOLDER
TRAINED = UNetConfig(num_res_blocks=1, norm_groups=8)
TRAINED_SD15 = UNetConfig(
    channel_mult=(1, 1, 1, 1),
    transformer_depth=(1, 1, 1, 0),
    adm_in_channels=None,
    num_head_channels=None,
    use_linear_projection=False,
    norm_groups=8,
)
TRAINED_ANIMA = UNetConfig(
    in_channels=CHANNELS,
    out_channels=CHANNELS,
    channel_mult=(1, 2, 2),
    transformer_depth=(1, 1, 1),
    num_res_blocks=1,
    norm_groups=8,
)
SIDE = 128
"""Height and width in pixels that the generator was trained on."""


def load_trained(family: Family) -> BaseModel:
    """The base model of a family in float32; its files are float16."""
    state = load_file(str(BASE))
    if family is ANIMA:
        return _with_rgba_vae(state)
    if family is SD15:
        state = {key: value for key, value in state.items() if not key.startswith(UNET_PREFIX)}
        state |= load_file(str(BASE_SD15))
    config = TRAINED_SD15 if family is SD15 else TRAINED
    return load_base({key: value.float() for key, value in state.items()}, config)


def _with_rgba_vae(state: Mapping[str, Tensor]) -> BaseModel:
    vae = tensors.network(LAYER_FILES / ANIMA.decoder.filename, RgbaVae.from_state_dict).float()
    unet, text = UNet(TRAINED_ANIMA), TextEncoder()
    for network, prefix, weights in (
        (unet, UNET_PREFIX, load_file(str(BASE_ANIMA))),
        (text, TEXT_PREFIX, state),
    ):
        own = {key.removeprefix(prefix): w.float() for key, w in weights.items() if key.startswith(prefix)}
        network.load_state_dict(own)
    return together(unet, ordinary(vae), text)


def load_drifted() -> BaseModel:
    """The SDXL-like checkpoint that drifted from the base."""
    model = load_trained(SDXL)
    weights = dict(model.unet.named_parameters())
    state = load_file(str(DRIFTED))
    with torch.no_grad():
        for name in {key.partition("::")[0] for key in state}:
            up, down = (state[f"{name}::lora::{number}"].float() for number in (0, 1))
            weight = weights[name.removeprefix(PREFIX)]
            weight.add_((up @ down.flatten(1)).reshape(weight.shape))
    return model


def write_layer_files(models_dir: Path) -> None:
    """Put all of them into a folder of models.

    SDXL and SD1.5 have the same autoencoder here, so the same transparency pair serves either, by both names.
    """
    folder = models_dir / FOLDER
    shutil.copytree(LAYER_FILES, folder, ignore=shutil.ignore_patterns(".*"))
    for file, other in ((SD15.encoder, SDXL.encoder), (SD15.decoder, SDXL.decoder)):
        shutil.copy(LAYER_FILES / other.filename, folder / file.filename)
