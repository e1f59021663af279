"""The VAE with four image channels: RGBA pictures to sixteen channels and back, opaque ones among them."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from lib_layerdiffusion.models.rgba_vae import RgbaVae
from lib_layerdiffusion.transparency.rgba_codec import network_input
from miniature.nets.rgba_member import CHANNELS, WIDTH
from miniature.training import loop
from miniature.training.autoencoder_stage import LARGE, slopes, write_sheet
from miniature.training.backgrounds import Rng, background
from miniature.training.emoji import Emoji
from miniature.training.layers import opaque, over, random_layer, straight
from miniature.training.transparency_stage import INVISIBLE, NOISE

STAGE = "rgba_vae"
SMALL = (16, 64)
OPAQUE_SHARE = 0.4
"""Pictures with a background: the base model knows no others."""

COLOUR_WEIGHT = 2.0
SIZE_WEIGHT = 5e-4
"""Of the latents' mean square. Hosts take the mean and never sample, so training knows no variance."""


def _sample(emoji: Emoji, rng: Rng, side: int) -> Tensor:
    layer = random_layer(emoji.pictures[rng.integers(len(emoji))], rng, side)
    scene = rng.random() < OPAQUE_SHARE
    return network_input(opaque(over(layer, background(rng, side, side))) if scene else straight(layer))


def losses(plan: loop.Plan, training: Emoji, vae: RgbaVae) -> loop.Loss:
    device = loop.device_of(vae)

    def loss(step: int) -> dict[str, Tensor]:
        rng = loop.rng(plan.name, step)
        count, side = SMALL if step < 0.8 * plan.steps else LARGE
        x = torch.stack([_sample(training, rng, side) for _ in range(count)]).to(device)
        # a generated latent is not exact
        noise = torch.from_numpy(rng.uniform(0, NOISE, count) * (rng.random(count) < 0.5)).float().to(device)
        with loop.mixed(device):
            mean = vae.encode(x).float()
            deviation = mean.detach().std(dim=(0, 2, 3), keepdim=True) * noise[:, None, None, None]
            y = vae.decode(mean + deviation * torch.randn_like(mean)).float()
        alpha = (x[:, 3:] - y[:, 3:]).abs().mean() + 0.5 * slopes(x[:, 3:], y[:, 3:])
        weight = (x[:, 3:] + 1) / 2 + INVISIBLE
        colour = ((x[:, :3] - y[:, :3]).abs() * weight).mean()
        edges = slopes(x[:, :3] * weight, y[:, :3] * weight)
        size = (mean**2).mean()
        total = alpha + COLOUR_WEIGHT * (colour + 0.3 * edges) + SIZE_WEIGHT * size
        return {"loss": total, "alpha": alpha, "colour": colour, "size": size}

    return loss


def begin(vae: RgbaVae) -> None:
    """Have a new network hand on what it is given.

    By default each convolution on the way takes two fifths of the deviation, and the norms, which leave only
    directions, have little but biases to tell brightness by. After 240 steps the error of colours was 0.32
    then, and 0.20 with this.
    """
    for name, layer in vae.named_modules():
        if not isinstance(layer, nn.Conv2d):
            continue
        assert layer.bias is not None
        if "residual.6" in name or "proj" in name:
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        elif not ("residual" in name or "to_qkv" in name):
            nn.init.normal_(layer.weight, std=layer.weight[0].numel() ** -0.5)
            if "head" not in name and name not in ("conv1", "conv2"):
                nn.init.uniform_(layer.bias, -1, 1)


def train(folder: Path, emoji: Emoji, steps: int, device: torch.device) -> None:
    torch.manual_seed(6)
    vae = RgbaVae(WIDTH, CHANNELS)
    begin(vae)
    vae = vae.to(device)
    plan = loop.Plan(STAGE, steps, 2e-3)
    training, held_out = emoji.train(), emoji.held_out()

    def sheet(path: Path) -> None:
        rng = loop.rng("sheet", 1)
        drawn = [straight(random_layer(held_out.pictures[16 * n], rng, 128, 0.7)) for n in range(8)]
        x = torch.stack([network_input(rgba) for rgba in drawn]).to(device)
        with torch.inference_mode():
            y = vae.decode(vae.encode(x)).clamp(-1, 1)
        x, y = (x + 1) / 2, (y + 1) / 2
        error = float((x[:, 3] - y[:, 3]).abs().mean())
        colour = float(((x - y)[:, :3].abs() * x[:, 3:]).sum() / x[:, 3:].sum() / 3)
        print(f"\nheld-out alpha error {error:.4f}, colour {colour:.4f}", flush=True)
        alphas = [one[:, 3:].expand(-1, 3, -1, -1) for one in (x, y)]
        write_sheet(path, [*alphas, *(one[:, :3] * one[:, 3:] + (1 - one[:, 3:]) / 2 for one in (x, y))])

    loop.train(plan, folder, vae, losses(plan, training, vae), sheet)


def trained(folder: Path) -> RgbaVae:
    vae = RgbaVae(WIDTH, CHANNELS).eval().requires_grad_(False)
    loop.result(STAGE, folder, vae)
    return vae
