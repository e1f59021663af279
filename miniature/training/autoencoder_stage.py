"""Stage 1: the picture autoencoder, with absolute error of colours and of their slopes, and a KL term."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lib_layerdiffusion.pictures.arithmetic import FloatImage
from miniature.nets.autoencoder import AutoencoderKL
from miniature.training import loop
from miniature.training.backgrounds import Rng, background
from miniature.training.emoji import Emoji
from miniature.training.layers import over, random_layer

KL_WEIGHT = 1e-3
SMALL, LARGE = (16, 64), (4, 128)
"""Pictures in a step and their side; the last fifth of the steps sees large ones."""


def compose(emoji: Emoji, rng: Rng, side: int) -> FloatImage:
    """A picture on a background, or on the grey that condition pictures have."""
    layer = random_layer(emoji.pictures[rng.integers(len(emoji))], rng, side)
    grey = rng.random() < 0.35
    behind = np.full((side, side, 3), 0.5, np.float32) if grey else background(rng, side, side)
    return over(layer, behind)


def to_tensor(pictures: list[FloatImage]) -> Tensor:
    """[H, W, C] each, to [B, C, H, W]."""
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float().contiguous()


def slopes(x: Tensor, y: Tensor) -> Tensor:
    """Absolute error of the differences between neighbours."""
    difference = x - y
    down, across = difference.diff(dim=-2), difference.diff(dim=-1)
    return down.abs().mean() + across.abs().mean()


def train(folder: Path, emoji: Emoji, steps: int, device: torch.device) -> AutoencoderKL:
    torch.manual_seed(0)
    vae = AutoencoderKL().to(device)
    training, held_out = emoji.train(), emoji.held_out()
    plan = loop.Plan("autoencoder", steps, 1.5e-3)
    loss = losses(plan, training, vae)

    def sheet(path: Path) -> None:
        rng = loop.rng("sheet", 0)
        x = to_tensor([compose(held_out, rng, 128) for _ in range(8)]).to(device)
        with torch.inference_mode():
            y = (vae.decode(vae.moments(2 * x - 1)[0]) / 2 + 0.5).clamp(0, 1)
        error = 10 * math.log10(1 / float(F.mse_loss(x, y)))
        print(f"\nheld-out PSNR {error:.2f} dB", flush=True)
        write_sheet(path, [x, y])

    loop.train(plan, folder, vae, loss, sheet)
    return vae


def losses(plan: loop.Plan, training: Emoji, vae: AutoencoderKL) -> loop.Loss:
    device = loop.device_of(vae)

    def loss(step: int) -> dict[str, Tensor]:
        rng = loop.rng(plan.name, step)
        count, side = SMALL if step < 0.8 * plan.steps else LARGE
        x = 2 * to_tensor([compose(training, rng, side) for _ in range(count)]).to(device) - 1
        with loop.mixed(device):
            mean, logvar = vae.moments(x)
            mean, logvar = mean.float(), logvar.float()
            y = vae.decode(mean + torch.exp(0.5 * logvar) * torch.randn_like(mean))
        colour = (x - y.float()).abs().mean()
        kl = 0.5 * (mean**2 + logvar.exp() - 1 - logvar).mean()
        edges = slopes(x, y.float())
        return {"loss": colour + edges + KL_WEIGHT * kl, "colour": colour, "slopes": edges, "kl": kl}

    return loss


@torch.no_grad()
def trained(folder: Path, emoji: Emoji) -> AutoencoderKL:
    """The result of this stage, with latents of the size that goes with SDXL's scaling factor.

    That scale is measured on training pictures and folded into the 1x1 convolutions beside the latent, so
    that pictures stay the same.
    """
    vae = AutoencoderKL().eval().requires_grad_(False)
    loop.result("autoencoder", folder, vae)
    rng, training = loop.rng("scale", 0), emoji.train()
    x = 2 * to_tensor([compose(training, rng, 128) for _ in range(64)]) - 1
    scale = 1 / (vae.scaling_factor * float(vae.moments(x)[0].std()))
    first, second = vae.quant_conv, vae.post_quant_conv
    assert first.bias is not None
    half = len(first.weight) // 2
    first.weight[:half] *= scale
    first.bias[:half] *= scale
    first.bias[half:] += 2 * math.log(scale)
    second.weight /= scale
    return vae


def write_sheet(path: Path, rows: list[Tensor]) -> None:
    """One row of pictures [B, 3, H, W] in [0, 1] below the other."""
    image = torch.cat([torch.cat(list(row), dim=2) for row in rows], dim=1).permute(1, 2, 0)
    bgr = (image.float().clamp(0, 1) * 255).round().byte().cpu().numpy()[..., ::-1]
    cv2.imwrite(str(path), bgr)
