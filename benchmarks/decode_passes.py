"""Time and result of fewer decode passes, and of as many as are needed, against all eight.

    python -m benchmarks.decode_passes [--size 512] [--rounds 3]

The networks are the miniature's trained ones. A scene is a canvas with held-out pictures on some of its
places, encoded with its transparency and decoded by the autoencoder, so that the transparency decoder has to
find again what is known. Alpha is compared with that of eight passes and with the true one, in 8-bit levels.
"""

from __future__ import annotations

import math
import statistics
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from benchmarks import report
from lib_layerdiffusion.files import tensors
from lib_layerdiffusion.methods import SDXL
from lib_layerdiffusion.models.encoder_and_decoder import TransparencyDecoder, TransparencyEncoder
from lib_layerdiffusion.pictures.arithmetic import FloatImage, Uint8Image, flatten_on_grey
from lib_layerdiffusion.transparency.latents import add_offset, encode_offset
from lib_layerdiffusion.transparency.voting import Votes
from lib_layerdiffusion.transparency.ways import ways
from miniature.nets.trained import LAYER_FILES, SIDE, load_trained

HELD_OUT = Path(__file__).parents[1] / "tests" / "held_out"
PASSES = (8, "adaptive", 4, 2, 1)
FILLED = (0.05, 0.1, 0.2, 0.4)
"""Share of the canvas's places with a picture, scene by scene."""


def canvas(side: int, filled: float, seed: int) -> Uint8Image:
    """Return RGBA uint8 [side, side, 4] with pictures of 128 x 128 pixels on a share of its places."""
    generator = np.random.default_rng(seed)
    files = sorted(HELD_OUT.glob("*.png"))
    scene = np.zeros((side, side, 4), np.uint8)
    places = [(y, x) for y in range(side // SIDE) for x in range(side // SIDE)]
    for n in generator.permutation(len(places))[: math.ceil(filled * len(places))]:
        y, x = (SIDE * place for place in places[n])
        picture = Image.open(files[generator.integers(len(files))]).convert("RGBA").resize((SIDE, SIDE))
        scene[y : y + SIDE, x : x + SIDE] = np.asarray(picture)
    return scene


def encoded(rgba: Uint8Image, encoder: TransparencyEncoder) -> tuple[Uint8Image, Tensor]:
    """Return what the autoencoder makes of RGBA, uint8 [H, W, 3], and its latent [4, H/8, W/8]."""
    vae = load_trained(SDXL).vae
    mean, logvar = vae.moments(2 * torch.from_numpy(flatten_on_grey(rgba)).permute(2, 0, 1)[None] - 1)
    latent = add_offset(mean, logvar, encode_offset(encoder, rgba))
    picture = (vae.decode(latent)[0] / 2 + 0.5).clamp(0, 1).mul(255).round().to(torch.uint8)
    return np.ascontiguousarray(picture.permute(1, 2, 0).numpy()), latent[0]


def levels(one: FloatImage, other: FloatImage) -> tuple[float, float]:
    """Return how far alphas differ: mean in levels of 1/255, and the share of pixels within one level."""
    difference = np.abs(one[..., 3] - other[..., 3]) * 255
    return float(difference.mean()), float((difference <= 1).mean())


@torch.inference_mode()
def main() -> None:
    parser = report.parser(__doc__, rounds=3)
    parser.add_argument("--size", type=int, default=512, help="side of the picture in pixels")
    options = report.parse(parser)
    decoder = tensors.network(LAYER_FILES / SDXL.decoder.filename, TransparencyDecoder.from_state_dict)
    encoder = tensors.network(LAYER_FILES / SDXL.encoder.filename, TransparencyEncoder.from_state_dict)
    decoder, encoder = decoder.eval().float(), encoder.eval().float()
    decoder.to(options.device)
    table = report.Report("decode_passes", options.device, {"size": options.size})
    for seed, filled in enumerate(FILLED):
        rgba = canvas(options.size, filled, seed)
        picture, latent = encoded(rgba, encoder)
        device = torch.device(options.device)
        runs = {
            str(passes): partial(
                ways(device, options.size, options.size, Votes.of(passes))[0].decode, decoder, latent, picture
            )
            for passes in PASSES
        }
        results = {name: run() for name, run in runs.items()}
        times = report.paired(options.rounds, runs, options.device, warm_up=0)
        truth = rgba.astype(np.float32) / 255
        for name, result in results.items():
            mean, within = levels(result, results["8"])
            ratios = [one / other for one, other in zip(times[name], times["8"], strict=True)]
            table.figure(
                f"{filled:.0%} filled, {name} passes",
                seconds=statistics.median(times[name]),
                to_eight=report.spread(ratios),
                alpha_levels=mean,
                within_one_level=within,
                alpha_levels_to_truth=levels(result, truth)[0],
            )
    table.write(options.json)


if __name__ == "__main__":
    main()
