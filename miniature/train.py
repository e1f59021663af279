"""Train the miniature's networks, one stage after the other, and write them where the miniature has them.

python -m miniature.train STAGE [--folder FOLDER] [--steps N]

Stages, each of which needs the ones before it: autoencoder, transparency, base, then the six layer files in
any order, decoder, export. A stage that was broken off goes on where it was when it is started again.
Checkpoints, loss curves and sample sheets are written into the folder.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from miniature import trained
from miniature.training import autoencoder, export, generator, scenes, transparency
from miniature.training.emoji import DataError, Emoji, load
from miniature.training.loop import Untrained

STEPS = {
    "autoencoder": 4000,
    "transparency": 1050,
    "base": 2200,
    "layer_xl_transparent_attn": 350,
    "layer_xl_transparent_conv": 330,
    "layer_xl_fg2ble": 600,
    "layer_xl_bg2ble": 330,
    "layer_xl_fgble2bg": 350,
    "layer_xl_bgble2fg": 650,
    "decoder": 260,
}


def run(stage: str, folder: Path, emoji: Emoji, steps: int) -> None:
    if stage == "autoencoder":
        autoencoder.train(folder, emoji, steps)
        return
    vae = autoencoder.trained(folder, emoji)
    if stage == "transparency":
        transparency.train(folder, emoji, steps, vae)
    elif stage == "decoder":
        transparency.train_decoder(folder, emoji, steps, vae)
    elif stage == "base":
        generator.train_base(folder, scenes.latents(folder, emoji, vae), vae, steps)
    elif stage == "export":
        export.export(folder, vae, trained.WEIGHTS)
    else:
        task, base = generator.TASKS[stage], generator.trained(folder)
        pair = transparency.trained(folder) if task.is_transparent else None
        made = scenes.latents(folder, emoji, vae, pair.encoder if pair else None)
        generator.train_patch(folder, task, made, vae, base, pair.decoder if pair else None, steps)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m miniature.train", description=__doc__)
    parser.add_argument("stage", choices=[*STEPS, "export"])
    parser.add_argument("--folder", type=Path, default=Path("build/miniature"))
    parser.add_argument("--data", type=Path, help="folder of the pictures (default: FOLDER/data)")
    parser.add_argument("--steps", type=int, help="instead of the stage's own number")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    try:
        emoji = load(options.data or options.folder / "data")
        run(options.stage, options.folder, emoji, options.steps or STEPS.get(options.stage, 0))
    except (DataError, Untrained) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
