"""Random weights: the same everywhere, and layer files with the released layout."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from miniature.nets.random_weights import (
    UNET_PREFIX,
    base_state_dict,
    decoder_shapes,
    encoder_shapes,
    layer_files,
)
from miniature.nets.unet import SDXL_MINIATURE, UNet

pytestmark = pytest.mark.usefixtures("_without_gradients")


CONDITION_CHANNELS = {
    "layer_xl_fg2ble": 8,
    "layer_xl_bg2ble": 8,
    "layer_xl_fgble2bg": 12,
    "layer_xl_bgble2fg": 12,
}


def test_same_seed_gives_the_same_bytes(state: dict[str, Tensor], tmp_path: Path) -> None:
    again, other = base_state_dict(7), base_state_dict(8)
    assert list(again) == list(state) == list(other)
    assert all(again[key].numpy().tobytes() == state[key].numpy().tobytes() for key in state)
    assert not any(torch.equal(other[key], state[key]) for key in state)
    first, second = (layer_files(tmp_path / name, 7) for name in "ab")
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_tensor_does_not_depend_on_the_size_of_the_model(state: dict[str, Tensor]) -> None:
    deeper = base_state_dict(7, replace(SDXL_MINIATURE, middle_depth=2))
    assert len(deeper) > len(state)
    assert all(torch.equal(deeper[key], value) for key, value in state.items())


def test_weights_are_the_same_on_every_machine(state: dict[str, Tensor]) -> None:
    weight = state[f"{UNET_PREFIX}middle_block.1.proj_in.weight"]
    expected = torch.tensor([-0.0000996, 0.1254488, -0.0407242])
    torch.testing.assert_close(weight[0, :3], expected, rtol=1e-5, atol=1e-6)


def test_layer_files_have_the_released_names(files: dict[str, dict[str, Tensor]]) -> None:
    transparent = {"layer_xl_transparent_attn", "layer_xl_transparent_conv"}
    networks = {"vae_transparent_encoder", "vae_transparent_decoder"}
    sharing = {f"layer_sd15_{name}" for name in ("transparent_attn", "joint", "fg2bg", "bg2fg")}
    networks |= {f"layer_sd15_{name}" for name in networks}
    rgba = {"anima_rgba_vae", "anima_rgba_lora"}
    assert set(files) == transparent | networks | sharing | rgba | set(CONDITION_CHANNELS)
    assert {value.dtype for file in files.values() for value in file.values()} == {torch.float16}


def test_attention_file_covers_every_attention(files: dict[str, dict[str, Tensor]]) -> None:
    file = files["layer_xl_transparent_attn"]
    unet = {f"diffusion_model.{key}": value for key, value in UNet().state_dict().items()}
    attentions = sorted(key for key in unet if ".attn" in key and not key.endswith("bias"))
    assert len(attentions) == 88
    assert sorted({key.split("::")[0] for key in file}) == attentions
    for key in attentions:
        up, down = file[f"{key}::lora::0"], file[f"{key}::lora::1"]
        assert up.shape[1] == down.shape[0] == 8
        assert (up @ down).shape == unet[key].shape


@pytest.mark.parametrize("name", ["layer_xl_transparent_conv", *CONDITION_CHANNELS])
def test_offset_files_fit_the_unet(files: dict[str, dict[str, Tensor]], name: str) -> None:
    unet = {f"diffusion_model.{key}": tuple(value.shape) for key, value in UNet().state_dict().items()}
    first = "diffusion_model.input_blocks.0.0.weight"
    unet[first] = (32, CONDITION_CHANNELS.get(name, 4), 3, 3)
    offsets = {key.removesuffix("::diff::0"): tuple(value.shape) for key, value in files[name].items()}
    assert all(key.endswith("::diff::0") for key in files[name])
    assert offsets.items() <= unet.items()
    blocks = {key for key in unet if "out_layers.3" in key}
    assert offsets.keys() >= {first, "diffusion_model.input_blocks.0.0.bias", *blocks}
    assert ("diffusion_model.middle_block.0.in_layers.2.weight" in offsets) == (
        name not in CONDITION_CHANNELS
    )


def test_condition_files_differ(files: dict[str, dict[str, Tensor]]) -> None:
    key = "diffusion_model.input_blocks.0.0.weight::diff::0"
    assert not torch.equal(files["layer_xl_fg2ble"][key], files["layer_xl_bg2ble"][key])
    assert not torch.equal(files["layer_xl_fgble2bg"][key], files["layer_xl_bgble2fg"][key])


def test_transparency_files(files: dict[str, dict[str, Tensor]]) -> None:
    # Tensor and parameter counts of the released networks.
    released = decoder_shapes((32, 32, 64, 128, 256, 512, 512))
    assert len(released) == 538
    assert sum(torch.Size(shape).numel() for shape in released.values()) == 104_104_804
    assert sum(torch.Size(shape).numel() for shape in encoder_shapes().values()) == 1_181_764
    encoder, decoder = files["vae_transparent_encoder"], files["vae_transparent_decoder"]
    assert {key: tuple(value.shape) for key, value in encoder.items()} == encoder_shapes()
    assert {key: tuple(value.shape) for key, value in decoder.items()} == decoder_shapes()
    # The narrow level 4 is as wide as level 3, so its first block needs no shortcut.
    shortcut = "down_blocks.4.resnets.0.conv_shortcut"
    assert released.keys() - decoder.keys() == {f"{shortcut}.weight", f"{shortcut}.bias"}
    assert decoder["latent_conv_in.weight"].shape == (8, 4, 1, 1)
    assert decoder["up_blocks.0.attentions.2.to_out.0.weight"].shape == (24, 24)
    assert decoder["up_blocks.3.resnets.2.conv1.weight"].shape == (16, 24, 3, 3)
    assert decoder["conv_out.weight"].shape == (4, 4, 3, 3)
    assert decoder["conv_out.bias"].mean() == pytest.approx(0.5, abs=0.05)
