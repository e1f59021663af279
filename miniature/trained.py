"""The trained family: a base model and the layer files on it, as small as they fit into a repository."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import load_file

from miniature.random_weights import BaseModel, load_base
from miniature.unet import UNetConfig

WEIGHTS = Path(__file__).parent / "weights"
BASE = WEIGHTS / "base.safetensors"
LAYER_FILES = WEIGHTS / "layer_model"
TRAINED = UNetConfig(num_res_blocks=1, norm_groups=8)
SIDE = 128
"""Height and width in pixels that the generator was trained on."""


def load_trained() -> BaseModel:
    """The base model in float32; its file is float16."""
    return load_base({key: value.float() for key, value in load_file(str(BASE)).items()}, TRAINED)
