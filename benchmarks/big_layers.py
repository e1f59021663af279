"""A UNet of SDXL's layout and depth, of any width, and layer files for it: what costs by the parameter."""

from __future__ import annotations

import re
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from miniature.nets.random_weights import ATTENTION_WEIGHT, LAST_CONVOLUTION, shapes_of
from miniature.nets.unet import UNet, UNetConfig
from miniature.webui.patcher import PREFIX

SDXL_WIDTH, RANK = 320, 256
HEAD = 64


def config(width: int = SDXL_WIDTH) -> UNetConfig:
    """SDXL's UNet with `width` channels at its finest level, a multiple of 32; SDXL has 320."""
    return UNetConfig(
        model_channels=width,
        channel_mult=(1, 2, 4),
        transformer_depth=(0, 2, 10),
        middle_depth=10,
        context_dim=2048,
        adm_in_channels=2816,
        num_head_channels=HEAD,
    )


def unet(width: int, device: str, dtype: torch.dtype) -> UNet:
    """The network with small random weights."""
    with torch.device("meta"):
        network = UNet(config(width))
    network = network.to_empty(device=device).to(dtype)
    torch.manual_seed(1)
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(False)
        parameter.normal_(0, 0.02).add_(float(parameter.ndim == 1 and name.endswith("weight")))
    return network.eval()


def attention_file(width: int, rank: int = RANK) -> dict[str, Tensor]:
    """Tensors of a layer file of the attention method: two factors for every projection, float16."""
    tensors = {}
    for name, shape in shapes_of(lambda: UNet(config(width))).items():
        if ATTENTION_WEIGHT.search(name):
            tensors[f"{PREFIX}{name}::lora::0"] = torch.randn(shape[0], rank).half() * 0.02
            tensors[f"{PREFIX}{name}::lora::1"] = torch.randn(rank, shape[1]).half() * 0.02
    return tensors


def condition_file(width: int, pictures: int = 1) -> dict[str, Tensor]:
    """Tensors of a layer file with a condition picture: a wider first convolution and offsets, float16."""
    first = re.compile(r"input_blocks\.0\.0\.weight")
    tensors = {}
    for name, shape in shapes_of(lambda: UNet(config(width))).items():
        if first.fullmatch(name) or LAST_CONVOLUTION.search(name):
            wide = (shape[0], 4 + 4 * pictures, *shape[2:]) if first.fullmatch(name) else shape
            tensors[f"{PREFIX}{name}::diff::0"] = torch.randn(wide).half() * 0.02
    return tensors


def write(folder: Path, name: str, tensors: dict[str, Tensor]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.safetensors"
    save_file(tensors, str(path), metadata={"format": "pt"})
    return path
