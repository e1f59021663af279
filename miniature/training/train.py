"""Train the miniature's networks, one stage after the other, and write them where the miniature has them.

python -m miniature.training.train STAGE [--folder FOLDER] [--steps N] [--device cuda] [--published]

Stages, each of which needs the ones before it: autoencoder, transparency, base, then the six SDXL layer files
in any order, decoder, drifted, base_sd15, then the four SD1.5 layer files in any order, rgba_vae, base_anima,
anima_rgba_lora, export. A stage that was broken off goes on where it was when it is started again.
Checkpoints, loss curves and sample sheets are written into the folder.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from miniature.nets import trained
from miniature.training import (
    autoencoder_stage,
    drawn_scenes,
    drift_stage,
    export,
    generator_stage,
    joint_stage,
    rgba_generator_stage,
    rgba_vae_stage,
    transparency_stage,
)
from miniature.training.earlier import Earlier
from miniature.training.emoji import DataError, load
from miniature.training.loop import Untrained

STEPS = {
    "autoencoder": 4000,
    "transparency": 1050,
    "base": 2200,
    "layer_xl_transparent_attn": 350,
    "layer_xl_transparent_conv": 330,
    "layer_xl_fg2ble": 600,
    "layer_xl_bg2ble": 2700,
    "layer_xl_fgble2bg": 350,
    "layer_xl_bgble2fg": 2400,
    "decoder": 260,
    "drifted": 600,
    "base_sd15": 3400,
    "layer_sd15_transparent_attn": 600,
    "layer_sd15_fg2bg": 1200,
    "layer_sd15_bg2fg": 2600,
    "layer_sd15_joint": 2400,
    "rgba_vae": 3600,
    "base_anima": 2600,
    "anima_rgba_lora": 1000,
}


def run(stage: str, earlier: Earlier, steps: int) -> None:
    folder, emoji = earlier.folder, earlier.emoji
    if stage == "autoencoder":
        autoencoder_stage.train(folder, emoji, steps, earlier.device)
        return
    if stage == "export":
        export.export(earlier, trained.WEIGHTS)
        return
    if stage == rgba_vae_stage.STAGE:
        rgba_vae_stage.train(folder, emoji, steps, earlier.device)
        return
    if stage in (rgba_generator_stage.BASE.file, rgba_generator_stage.LORA.file):
        rgba, text = earlier.rgba_vae(), earlier.generator().text
        scenes = rgba_generator_stage.latents(folder, emoji, rgba)
        if stage == rgba_generator_stage.BASE.file:
            rgba_generator_stage.train_base(folder, scenes, rgba, text, steps)
        else:
            rgba_generator_stage.train_lora(folder, scenes, rgba, earlier.unet_anima(), text, steps)
        return
    vae = earlier.vae()
    if stage == "transparency":
        transparency_stage.train(folder, emoji, steps, vae)
    elif stage == "decoder":
        transparency_stage.train_decoder(folder, emoji, steps, vae)
    elif stage == "base":
        generator_stage.train_base(folder, drawn_scenes.latents(folder, emoji, vae), vae, steps)
    elif stage == "drifted":
        made = drift_stage.busy_scenes(folder, emoji, vae, drawn_scenes.latents(folder, emoji, vae))
        drift_stage.train(folder, made, vae, earlier.generator(), steps)
    elif stage == "base_sd15":
        text = earlier.generator().text
        generator_stage.train_base_sd15(folder, drawn_scenes.latents(folder, emoji, vae), vae, text, steps)
    elif stage in joint_stage.METHOD:
        pair, text, unet = earlier.pair(), earlier.generator().text, earlier.unet_sd15()
        made = drawn_scenes.latents(folder, emoji, vae, pair.encoder)
        joint_stage.train(
            folder, joint_stage.METHOD[stage], emoji, made, vae, unet, text, pair.decoder, steps
        )
    else:
        task, base = generator_stage.TASKS[stage], earlier.generator()
        decoding = earlier.pair() if task.is_transparent else None
        made = drawn_scenes.latents(folder, emoji, vae, decoding.encoder if decoding else None)
        if task.occupied:
            made = drawn_scenes.with_occupied(folder, emoji, vae, made)
        generator_stage.train_patch(
            folder, task, made, vae, base, decoding.decoder if decoding else None, steps
        )


def best_device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def device(name: str) -> torch.device:
    """Return the device of that name. Raises ArgumentTypeError where there is none."""
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise argparse.ArgumentTypeError(
            f"PyTorch has no device {name} here; without this option {best_device()} is used"
        ) from error


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m miniature.training.train", description=__doc__)
    parser.add_argument("stage", choices=[*STEPS, "export"])
    parser.add_argument("--folder", type=Path, default=Path("build/miniature"))
    parser.add_argument("--data", type=Path, help="folder of the pictures (default: FOLDER/data)")
    parser.add_argument("--steps", type=int, help="instead of the stage's own number")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", type=device, default=best_device(), help="default: %(default)s")
    parser.add_argument(
        "--published",
        action="store_true",
        help="build on the networks in miniature/weights instead of those that the stages before resulted in",
    )
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    try:
        emoji = load(options.data or options.folder / "data")
        earlier = Earlier(options.folder, emoji, options.device, options.published)
        run(options.stage, earlier, options.steps or STEPS.get(options.stage, 0))
    except (DataError, Untrained) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
