"""A checkpoint that drifted from the base: trained on until the files made for the base fit it badly.

So it goes with checkpoints that others trained on for long, and with what is merged of them. This one draws
the same things, always before stripes or squares. What it has beyond the base is a LoRA, so that its file is
small; it is merged with more than its own strength, as merges do.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from lib_layerdiffusion.pictures.arithmetic import FloatImage
from miniature.nets.autoencoder import AutoencoderKL
from miniature.training import loop
from miniature.training.autoencoder_stage import to_tensor
from miniature.training.backgrounds import Rng
from miniature.training.drawn_scenes import SIDE, Latents, scene
from miniature.training.emoji import Emoji
from miniature.training.generator_stage import Generator, Patch, Task, losses, sheet
from miniature.training.layers import over, premultiplied

DRIFTED = Task("drifted", (), "blended", "concept", rank=8)
COUNT = 800
"""Scenes before such backgrounds."""
RATE = 4e-3
STRENGTH = 1.6
"""What the LoRA is merged with: at 1.45 the released-style patch still gives two clean pictures of three."""


def busy(rng: Rng) -> FloatImage:
    """Stripes or squares of a dark and a light colour, [SIDE, SIDE, 3] in [0, 1]."""
    dark, light = rng.random((2, 3), np.float32)
    dark, light = dark / 2, (1 + light) / 2
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    if rng.random() < 0.5:
        angle = rng.uniform(0, np.pi)
        first = np.sin((x * np.cos(angle) + y * np.sin(angle)) * rng.uniform(0.12, 0.35)) > 0
    else:
        cell = rng.integers(10, 28)
        first = (x // cell + y // cell) % 2 > 0
    return np.where(first[..., None], dark, light).astype(np.float32)


@torch.inference_mode()
def busy_scenes(folder: Path, emoji: Emoji, vae: AutoencoderKL, made: Latents) -> Latents:
    """The first COUNT scenes before such backgrounds; from the cache in `folder`, made if it is missing."""
    cache, device = folder / "scenes-busy.pt", loop.device_of(vae)
    if not cache.exists():
        parts: list[Tensor] = []
        for number in tqdm(range(COUNT), "busy scenes", mininterval=5):
            behind = busy(loop.rng("busy", number))
            pictures = [behind, over(premultiplied(scene(emoji, number).foreground), behind)]
            mean, logvar = vae.moments(2 * to_tensor(pictures).to(device) - 1)
            parts.append(torch.cat([mean, torch.exp(0.5 * logvar[1:])]).cpu())
        torch.save(torch.stack(parts), cache)
    background, blended, deviation = torch.load(cache, weights_only=True).to(device).unbind(1)
    concepts, foreground = made.concepts[:COUNT], made.foreground[:COUNT]
    return Latents(concepts, [""] * COUNT, foreground, background, blended, deviation, None)


def train(folder: Path, latents: Latents, vae: AutoencoderKL, generator: Generator, steps: int) -> Patch:
    torch.manual_seed(5)
    text = generator.text
    patch = Patch(generator.unet, DRIFTED).to(loop.device_of(vae))
    plan = loop.Plan(DRIFTED.file, steps, RATE, average=0.99)
    loss = losses(plan, DRIFTED, latents, vae, text, patch.predict, train_text=False)
    loop.train(plan, folder, patch, loss, sheet(DRIFTED, latents, vae, text, patch.predict, None))
    return patch


def tensors(patch: Patch) -> dict[str, Tensor]:
    """Those of the file, in which the LoRA has its strength."""
    return {
        key: (value * STRENGTH if key.endswith("lora::0") else value).contiguous()
        for key, value in patch.tensors().items()
    }
