"""The miniature's picture autoencoder: latent diffusion's names, shapes and padding."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from miniature.nets.autoencoder import AutoencoderConfig, AutoencoderKL
from miniature.nets.random_weights import (
    BaseModel,
)
from tests.helpers.small_networks import normal, shapes

pytestmark = pytest.mark.usefixtures("_without_gradients")


VAE_SHAPES = {
    "encoder.conv_in.weight": (16, 3, 3, 3),
    "encoder.down.0.block.0.norm1.weight": (16,),
    "encoder.down.0.downsample.conv.weight": (16, 16, 3, 3),
    "encoder.down.1.block.0.nin_shortcut.weight": (32, 16, 1, 1),
    "encoder.down.3.block.0.conv2.bias": (64,),
    "encoder.mid.block_1.norm2.weight": (64,),
    "encoder.mid.attn_1.q.weight": (64, 64, 1, 1),
    "encoder.mid.attn_1.proj_out.bias": (64,),
    "encoder.norm_out.weight": (64,),
    "encoder.conv_out.weight": (8, 64, 3, 3),
    "quant_conv.weight": (8, 8, 1, 1),
    "post_quant_conv.weight": (4, 4, 1, 1),
    "decoder.conv_in.weight": (64, 4, 3, 3),
    "decoder.mid.block_2.conv1.weight": (64, 64, 3, 3),
    "decoder.up.3.block.1.conv1.weight": (64, 64, 3, 3),
    "decoder.up.3.upsample.conv.weight": (64, 64, 3, 3),
    "decoder.up.2.block.0.nin_shortcut.weight": (32, 64, 1, 1),
    "decoder.up.0.block.0.conv1.weight": (16, 32, 3, 3),
    "decoder.norm_out.bias": (16,),
    "decoder.conv_out.weight": (3, 16, 3, 3),
}


def test_vae_has_the_names_of_latent_diffusion() -> None:
    with torch.device("meta"):
        released = AutoencoderKL(AutoencoderConfig(128, (1, 2, 4, 4), num_res_blocks=2))
    assert sum(p.numel() for p in released.parameters()) == 83_653_863
    vae = AutoencoderKL()
    found = shapes(vae)
    assert {key: found.get(key) for key in VAE_SHAPES} == VAE_SHAPES
    assert not any(
        key.startswith(("encoder.down.3.downsample", "decoder.up.0.upsample")) or "conv_shortcut" in key
        for key in found
    )
    assert sum(p.numel() for p in vae.parameters()) < 1.5e6


@pytest.mark.parametrize(("height", "width"), [(128, 128), (200, 264), (75, 133)])
def test_vae_shapes(model: BaseModel, height: int, width: int) -> None:
    mean, logvar = model.vae.moments(normal(1, 3, height, width).clamp(-1, 1))
    assert mean.shape == logvar.shape == (1, 4, height // 8, width // 8)
    assert 2 < mean.std() < 20
    assert logvar.min() >= -30
    assert logvar.max() <= 20
    picture = model.vae.decode(mean)
    assert picture.shape == (1, 3, height // 8 * 8, width // 8 * 8)
    assert 0.1 < picture.std() < 1.5


def test_vae_downsampling_pads_the_bottom_right_only() -> None:
    downsample = AutoencoderKL().get_submodule("encoder.down.0.downsample")
    nn.init.ones_(downsample.get_parameter("conv.weight"))
    nn.init.zeros_(downsample.get_parameter("conv.bias"))
    summed = downsample(torch.ones(1, 16, 4, 4))[0, 0]
    assert summed.tolist() == [[9 * 16.0, 6 * 16.0], [6 * 16.0, 4 * 16.0]]


def test_vae_norms_keep_the_colour_of_a_flat_picture() -> None:
    norm_out = AutoencoderKL().get_submodule("decoder.norm_out")
    colour = normal(1, 16, 1, 1)
    flat = norm_out(colour.expand(1, 16, 8, 8))
    assert flat.std() > 0.5
    torch.testing.assert_close(norm_out(-colour.expand(1, 16, 8, 8)), -flat)


def test_process_in_and_out_are_inverse() -> None:
    vae, z = AutoencoderKL(), normal(1, 4, 2, 2)
    torch.testing.assert_close(vae.process_in(z), z * 0.13025)
    torch.testing.assert_close(vae.process_out(vae.process_in(z)), z)
