"""Every stage computes where its networks are, whatever its samples are drawn on.

Tested on "meta", which like an accelerator cannot be mixed with the CPU, and unlike one is everywhere.
"""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lib_layerdiffusion.models.rgba_vae import RgbaVae
from miniature.nets.autoencoder import AutoencoderKL
from miniature.nets.rgba_member import CHANNELS, WIDTH, ordinary
from miniature.nets.text_encoder import TextEncoder
from miniature.nets.trained import TRAINED_ANIMA, TRAINED_SD15
from miniature.nets.unet import UNet
from miniature.training import (
    autoencoder_stage,
    emoji,
    generator_stage,
    joint_stage,
    loop,
    rgba_generator_stage,
    rgba_vae_stage,
    transparency_stage,
)
from miniature.training.denoising import Predict
from miniature.training.drawn_scenes import Latents

ELSEWHERE = torch.device("meta")
COUNT = 64


@pytest.fixture(scope="module")
def vae() -> AutoencoderKL:
    return AutoencoderKL().requires_grad_(False).to(ELSEWHERE)


@pytest.fixture(scope="module")
def text() -> TextEncoder:
    return TextEncoder().requires_grad_(False).to(ELSEWHERE)


@pytest.fixture(scope="module")
def latents() -> Latents:
    names = list(emoji.CONCEPTS)
    one = torch.empty(COUNT, 4, 16, 16, device=ELSEWHERE)
    return Latents([names[n % len(names)] for n in range(COUNT)], ["meadow"] * COUNT, one, one, one, one, one)


def learns(loss: loop.Loss, module: nn.Module, idle: tuple[str, ...] = ()) -> None:
    """One step reaches every parameter but the idle ones."""
    parts = loss(0)
    assert all(part.device == ELSEWHERE for part in parts.values())
    parts["loss"].backward()
    without = [name for name, p in module.named_parameters() if p.requires_grad and p.grad is None]
    assert [name for name in without if not any(part in name for part in idle)] == []


def test_the_test_would_notice_a_tensor_left_behind() -> None:
    with pytest.raises(RuntimeError, match="device"):
        torch.ones(3, device=ELSEWHERE) + torch.ones(3)


def test_autoencoder(known: emoji.Emoji) -> None:
    vae = AutoencoderKL().to(ELSEWHERE)
    learns(autoencoder_stage.losses(loop.Plan("autoencoder", 10, 1e-3), known, vae), vae)


def test_transparency(known: emoji.Emoji, vae: AutoencoderKL) -> None:
    pair = transparency_stage.Pair().to(ELSEWHERE)
    learns(transparency_stage.losses(loop.Plan("pair", 10, 1e-3), (2, 64), known, vae, pair), pair)


def test_base_with_its_text_encoder(latents: Latents, vae: AutoencoderKL) -> None:
    both = generator_stage.Generator().to(ELSEWHERE)
    plan = loop.Plan("base", 10, 1e-3)
    loss = generator_stage.losses(
        plan, generator_stage.BASE, latents, vae, both.text, both.unet, train_text=True
    )
    learns(loss, both)


def test_base_of_sd15(latents: Latents, vae: AutoencoderKL, text: TextEncoder) -> None:
    unet = UNet(TRAINED_SD15).to(ELSEWHERE)
    plan = loop.Plan("base_sd15", 10, 1e-3)
    learns(
        generator_stage.losses(plan, generator_stage.BASE_SD15, latents, vae, text, unet, train_text=False),
        unet,
    )


@pytest.mark.parametrize("task", generator_stage.TASKS.values(), ids=lambda task: task.file)
def test_patches(task: generator_stage.Task, latents: Latents, vae: AutoencoderKL, text: TextEncoder) -> None:
    unet = generator_stage.Generator().unet.requires_grad_(False).to(ELSEWHERE)
    patch = generator_stage.Patch(unet, task).to(ELSEWHERE)
    plan = loop.Plan(task.file, 10, 1e-3)
    learns(generator_stage.losses(plan, task, latents, vae, text, patch.predict, train_text=False), patch)


@pytest.mark.parametrize("method", joint_stage.METHOD.values(), ids=lambda method: method.weights.name)
def test_attention_sharing(method, latents: Latents, vae: AutoencoderKL, text: TextEncoder) -> None:
    unet = UNet(TRAINED_SD15).requires_grad_(False).to(ELSEWHERE)
    sharing = joint_stage.Sharing(unet, method).to(ELSEWHERE)
    # kept on the CPU, as there are thousands
    pictures = torch.zeros(COUNT, 3, 128, 128, dtype=torch.uint8) if method.pictures else None
    plan = loop.Plan(method.weights.name, 10, 1e-3)
    # a single frame attends to nothing but itself
    idle = ("temporal_q", "temporal_k") if method.frames == 1 else ()
    learns(joint_stage.losses(plan, method, latents, vae, text, sharing, pictures), sharing, idle)


def test_the_vae_with_four_image_channels(known: emoji.Emoji) -> None:
    vae = RgbaVae(WIDTH, CHANNELS).to(ELSEWHERE)
    # nothing asks for the variance
    learns(rgba_vae_stage.losses(loop.Plan("rgba_vae", 10, 1e-3), known, vae), vae)


@pytest.mark.parametrize("task", [rgba_generator_stage.BASE, rgba_generator_stage.LORA], ids=lambda t: t.file)
def test_what_draws_its_latents(task: generator_stage.Task, latents: Latents, text: TextEncoder) -> None:
    host = ordinary(RgbaVae(WIDTH, CHANNELS).to(ELSEWHERE))
    one = torch.empty(COUNT, CHANNELS, 16, 16, device=ELSEWHERE)
    made = latents._replace(foreground=one, background=one, blended=one)
    unet = UNet(TRAINED_ANIMA).to(ELSEWHERE)
    module: nn.Module = unet
    predict: Predict = unet
    if task is rgba_generator_stage.LORA:
        patch = rgba_generator_stage.LinearPatch(unet.requires_grad_(False), task).to(ELSEWHERE)
        module, predict = patch, patch.predict
    plan = loop.Plan(task.file, 10, 1e-3)
    learns(rgba_generator_stage.losses(plan, task, made, host, text, predict), module)
