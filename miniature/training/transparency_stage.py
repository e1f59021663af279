"""Stage 2: transparency encoder and decoder over the frozen autoencoder (arXiv 2402.17113, section 3.1).

The encoder's offset hides alpha and colour in the latent. Two things are asked of it: the autoencoder's own
decoder must still give the picture (identity), and the transparency decoder must find alpha and colour
again, turned or mirrored in any of the eight ways of its vote.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from lib_layerdiffusion.models.encoder_and_decoder import TransparencyDecoder, TransparencyEncoder
from lib_layerdiffusion.pictures.arithmetic import Uint8Image, flatten_on_grey, pad_colour
from lib_layerdiffusion.transparency.voting import ORIENTATIONS
from miniature.nets.autoencoder import AutoencoderKL
from miniature.training import loop
from miniature.training.autoencoder_stage import slopes, to_tensor, write_sheet
from miniature.training.backgrounds import Rng, background
from miniature.training.emoji import Emoji
from miniature.training.layers import opaque, over, random_layer, straight

WIDTHS = (16, 16, 24, 32, 32, 48, 48)
SMALL, LARGE = (16, 64), (4, 128)
IDENTITY_WEIGHT = 2.0
OPAQUE_SHARE = 0.2
"""Pictures with a background, half of them without an offset: they must come back opaque."""
NOISE = 0.12
"""Most noise on a latent, in its own standard deviations: that of a generated one is not exact."""
INVISIBLE = 0.05
"""Weight of a colour that alpha hides."""


class Pair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = TransparencyEncoder()
        self.decoder = TransparencyDecoder(WIDTHS)
        # the offset grows from almost nothing
        last = self.encoder.blocks[-1]
        assert isinstance(last, nn.Conv2d)
        nn.init.normal_(last.weight, std=1e-3)


def sample(emoji: Emoji, rng: Rng, side: int) -> tuple[Uint8Image, bool]:
    """An RGBA picture, and whether it may be without an offset: it has a background."""
    layer = random_layer(emoji.pictures[rng.integers(len(emoji))], rng, side)
    if rng.random() >= OPAQUE_SHARE:
        return straight(layer), False
    return opaque(over(layer, background(rng, side, side))), True


def turned(x: Tensor, flip: bool, turns: int) -> Tensor:
    """One of the orientations of the vote: mirrored first, then quarter turns."""
    return torch.rot90(x.flip(-1) if flip else x, turns, (-2, -1))


def encoder_input(rgba: Uint8Image) -> Tensor:
    """[4, H, W]: alpha and padded colour, as `encode_offset` makes it."""
    alpha = rgba[..., 3:].astype(np.float32) / np.float32(255)
    return torch.from_numpy(np.concatenate([alpha, pad_colour(rgba)], axis=2)).permute(2, 0, 1)


def train(folder: Path, emoji: Emoji, steps: int, vae: AutoencoderKL) -> None:
    torch.manual_seed(1)
    pair = Pair().to(loop.device_of(vae))
    _train(loop.Plan("transparency", steps, 1e-3), SMALL, folder, emoji, vae, pair)


def train_decoder(folder: Path, emoji: Emoji, steps: int, vae: AutoencoderKL) -> None:
    """Go on with the decoder alone at full size: layer files depend on the encoder, not on it."""
    pair = Pair().to(loop.device_of(vae))
    loop.result("transparency", folder, pair)
    pair.encoder.requires_grad_(False)
    _train(loop.Plan("decoder", steps, 5e-4, warmup=20), LARGE, folder, emoji, vae, pair)


def _train(
    plan: loop.Plan, at_first: tuple[int, int], folder: Path, emoji: Emoji, vae: AutoencoderKL, pair: Pair
) -> None:
    training, held_out, device = emoji.train(), emoji.held_out(), loop.device_of(vae)
    loss = losses(plan, at_first, training, vae, pair)

    def sheet(path: Path) -> None:
        rng = loop.rng("sheet", 1)
        drawn = [straight(random_layer(held_out.pictures[16 * n], rng, 128, 0.7)) for n in range(8)]
        target = torch.stack([encoder_input(rgba) for rgba in drawn]).to(device)
        with torch.inference_mode():
            pixels = to_tensor([flatten_on_grey(rgba) for rgba in drawn]).to(device)
            mean, logvar = vae.moments(2 * pixels - 1)
            latent = mean + torch.exp(0.5 * logvar) * pair.encoder(target)
            pixel = (vae.decode(latent) / 2 + 0.5).clamp(0, 1)
            result = pair.decoder(pixel, latent).clamp(0, 1)
            without = pair.decoder((vae.decode(mean) / 2 + 0.5).clamp(0, 1), mean).clamp(0, 1)
        errors = [float((r[:, :1] - target[:, :1]).abs().mean()) for r in (result, without)]
        print(f"\nheld-out alpha error {errors[0]:.4f}, without the offset {errors[1]:.4f}", flush=True)
        rows = [target[:, :1].expand(-1, 3, -1, -1), result[:, :1].expand(-1, 3, -1, -1)]
        colours = [t[:, 1:] * t[:, :1] + 0.5 * (1 - t[:, :1]) for t in (target, result)]
        write_sheet(path, [*rows, *colours, pixel])

    loop.train(plan, folder, pair, loss, sheet)


def losses(
    plan: loop.Plan, at_first: tuple[int, int], training: Emoji, vae: AutoencoderKL, pair: Pair
) -> loop.Loss:
    device = loop.device_of(vae)

    def loss(step: int) -> dict[str, Tensor]:
        rng = loop.rng(plan.name, step)
        count, side = at_first if step < 0.8 * plan.steps else LARGE
        drawn = [sample(training, rng, side) for _ in range(count)]
        target = torch.stack([encoder_input(rgba) for rgba, _ in drawn]).to(device)
        pixels = 2 * to_tensor([flatten_on_grey(rgba) for rgba, _ in drawn]).to(device) - 1
        with_offset = torch.tensor([not opaque or rng.random() < 0.5 for _, opaque in drawn]).float()
        noise = torch.from_numpy(rng.uniform(0, NOISE, count).astype(np.float32))
        noise *= torch.from_numpy(rng.random(count) < 0.5)
        with_offset, noise = with_offset.to(device), noise.to(device)
        with loop.mixed(device):
            with torch.no_grad():
                mean, logvar = (part.float() for part in vae.moments(pixels))
            offset = pair.encoder(target).float() * with_offset[:, None, None, None]
            exact = mean + torch.exp(0.5 * logvar) * offset
            latent = exact + torch.randn_like(exact) * (noise / vae.scaling_factor)[:, None, None, None]
            decoded = vae.decode(latent).float()
            orientation = ORIENTATIONS[step % len(ORIENTATIONS)]
            pixel = (decoded / 2 + 0.5).clamp(0, 1)
            result = pair.decoder(turned(pixel, *orientation), turned(latent, *orientation)).float()
        wanted = turned(target, *orientation)
        identity = ((decoded - pixels).abs().mean((1, 2, 3)) * (noise == 0)).sum() / count
        alpha = (result[:, :1] - wanted[:, :1]).abs().mean() + 0.5 * slopes(result[:, :1], wanted[:, :1])
        weight = wanted[:, :1] + INVISIBLE
        colour = ((result[:, 1:] - wanted[:, 1:]).abs() * weight).mean()
        total = alpha + colour + 0.3 * slopes(result[:, 1:] * weight, wanted[:, 1:] * weight)
        size = (offset.abs().mean((1, 2, 3)) * with_offset).sum() / with_offset.sum().clamp(min=1)
        return {
            "loss": total + IDENTITY_WEIGHT * identity,
            "alpha": alpha,
            "colour": colour,
            "identity": identity,
            "offset": size,
        }

    return loss


def trained(folder: Path) -> Pair:
    """The encoder of the stage transparency, the decoder of the stage decoder if that has been run."""
    pair = Pair().eval().requires_grad_(False)
    loop.result("transparency", folder, pair)
    if loop.is_done("decoder", folder):
        loop.result("decoder", folder, pair)
    return pair
