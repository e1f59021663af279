"""The RGBA VAE against numbers of another implementation (CPU, float32), and the files that it reads."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from lib_layerdiffusion.models.rgba_vae import HALO, RgbaVae
from miniature.nets import rgba_member
from tests.goldens import golden_weights_rgba_vae as rule

FOLDER = Path(__file__).parents[1] / "goldens"
NETWORK = 5e-5
"""Other implementations reached 5e-6."""


@cache
def golden() -> dict[str, np.ndarray]:
    with np.load(FOLDER / "qwen_rgba_vae.npz") as file:
        return dict(file)


@cache
def released() -> dict[str, Tensor]:
    table = json.loads((FOLDER / "keys" / "qwen_rgba_vae.json").read_text("utf-8"))["tensors"]
    return {key: torch.from_numpy(array) for key, array in rule.state_dict(table).items()}


@cache
def network() -> RgbaVae:
    return RgbaVae.from_state_dict(released()).eval().requires_grad_(False)


@cache
def small_file() -> dict[str, Tensor]:
    return {key: value.float() for key, value in rgba_member.tensors(1)["anima_rgba_vae"].items()}


def small(state: dict[str, Tensor] | None = None) -> RgbaVae:
    return RgbaVae.from_state_dict(state or small_file()).eval().requires_grad_(False)


def apart(ours: Tensor, theirs: np.ndarray | Tensor) -> float:
    return float((ours - torch.as_tensor(theirs)).abs().max())


def pixels() -> Tensor:
    return torch.from_numpy(golden()["picture_u8"]).permute(2, 0, 1)[None].float() / 255 * 2 - 1


def test_decodes_as_the_golden() -> None:
    assert apart(network().decode(torch.from_numpy(golden()["vae_latent"])), golden()["decoded"]) < NETWORK


def test_encodes_as_the_golden() -> None:
    assert apart(network().moments(pixels()), golden()["moments"]) < NETWORK
    mean = rule.to_sampler(network().encode(pixels()).numpy())
    assert np.abs(mean - golden()["mean_sampler"]).max() < NETWORK


@pytest.mark.parametrize(("dtype", "decoded", "encoded"), [(torch.bfloat16, 8e-2, 1.5e-1)])
def test_half_precision_stays_near(dtype: torch.dtype, decoded: float, encoded: float) -> None:
    half = RgbaVae.from_state_dict(released()).eval().requires_grad_(False).to(dtype)
    latent = torch.from_numpy(golden()["vae_latent"]).to(dtype)
    assert apart(half.decode(latent).float(), golden()["decoded"]) < decoded
    mean = torch.from_numpy(golden()["moments"]).chunk(2, dim=1)[0]
    assert apart(half.encode(pixels().to(dtype)).float(), mean) < encoded


def diffusers_name(name: str) -> str:
    """The spelling of the diffusers library, written the other way round than the one under test."""
    top = {"conv1": "quant_conv", "conv2": "post_quant_conv"}
    parts = name.split(".")
    if parts[0] in top:
        return ".".join([top[parts[0]], *parts[1:]])
    side, place, *rest = parts
    if place == "conv1":
        return ".".join([side, "conv_in", *rest])
    if place == "head":
        return ".".join([side, {"0": "norm_out", "2": "conv_out"}[rest[0]], *rest[1:]])
    index, *rest = rest
    if place == "middle":
        block = "mid_block.attentions.0" if index == "1" else f"mid_block.resnets.{int(index) // 2}"
    elif side == "encoder":
        block = f"down_blocks.{index}"
    else:
        group, number = divmod(int(index), 4)
        block = f"up_blocks.{group}.{'upsamplers.0' if number == 3 else f'resnets.{number}'}"
    if rest[0] == "residual":
        rest = [{"0": "norm1", "2": "conv1", "3": "norm2", "6": "conv2"}[rest[1]], *rest[2:]]
    elif rest[0] == "shortcut":
        rest = ["conv_shortcut", *rest[1:]]
    return ".".join([side, block, *rest])


def as_diffusers(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {diffusers_name(name): value for name, value in state.items()}


def as_plain(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return small(state).state_dict()


@pytest.mark.parametrize("spell", [as_diffusers, as_plain])
@pytest.mark.parametrize("prefix", ["", "vae.", "first_stage_model."])
def test_every_spelling_gives_the_same(spell: object, prefix: str) -> None:
    assert callable(spell)
    state = {f"{prefix}{name}": value for name, value in spell(small_file()).items()}
    for (name, ours), (_, same) in zip(
        small(state).state_dict().items(), small().state_dict().items(), strict=True
    ):
        assert torch.equal(ours, same), name


def test_what_concerns_later_frames_may_be_missing() -> None:
    state = {name: value for name, value in small_file().items() if ".time_conv." not in name}
    assert len(state) < len(small_file())
    small(state)


@pytest.mark.parametrize("rows", [1, 5, 64])
def test_strips_are_the_whole(rows: int) -> None:
    vae = small()
    latent = torch.randn(1, 16, 3 * HALO + 2, 3, generator=torch.Generator().manual_seed(1))
    picture = torch.rand(1, 4, 8 * latent.shape[2], 24, generator=torch.Generator().manual_seed(2))
    assert apart(vae.decode(latent, rows), vae.decode(latent)) < 1e-5
    assert apart(vae.moments(picture, rows), vae.moments(picture)) < 1e-5


def test_large_activations_survive_half_precision() -> None:
    from lib_layerdiffusion.models.rgba_vae import Norm

    norm = Norm(384).half()
    x = torch.full((1, 384, 1, 1), 100.0, dtype=torch.float16)
    assert apart(norm(x).detach().float(), torch.ones(1)) < 1e-3


@pytest.mark.parametrize(
    ("image", "sentence"),
    [((3, 3), "the ordinary VAE, not the transparent one"), ((4, 12), "no VAE of RGBA pictures")],
)
def test_other_vaes_are_refused(image: tuple[int, int], sentence: str) -> None:
    state = dict(small_file())
    state["encoder.conv1.weight"] = state["encoder.conv1.weight"][:, : image[0]]
    for kind in ("weight", "bias"):
        name = f"decoder.head.2.{kind}"
        state[name] = state[name].repeat(3, *[1] * (state[name].ndim - 1))[: image[1]]
    with pytest.raises(ValueError, match=sentence):
        small(state)


@pytest.mark.parametrize("change", ["missing", "additional", "shape"])
def test_what_does_not_fit_is_refused(change: str) -> None:
    state = dict(small_file())
    if change == "missing":
        del state["decoder.middle.1.proj.bias"]
    elif change == "additional":
        state["decoder.middle.3.proj.bias"] = torch.zeros(1)
    else:
        state["conv1.bias"] = torch.zeros(3)
    with pytest.raises(RuntimeError, match="state_dict"):
        small(state)
