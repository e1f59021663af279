"""The main job without a WebUI: every method and img2img, from the pictures beside this file to PNGs.

It runs scripts/forge_layerdiffusion.py, as a host does, over a diffusion model of four million parameters
with random weights: every step is the real one, but the pictures show noise.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, PngImagePlugin

from lib_layerdiffusion.errors import LayerDiffuseError
from lib_layerdiffusion.methods import METHODS, SD15, SDXL, Layer, Method
from lib_layerdiffusion.settings import ARGUMENTS, SHORT
from miniature.host import MiniatureHost
from miniature.random_weights import base_state_dict, layer_files, load_base
from miniature.script import load_script
from miniature.unet import SD15_MINIATURE, SDXL_MINIATURE
from miniature.webui import Processing, WebUI

PICTURES = Path(__file__).parent / "pictures"


def layers() -> dict[Layer, Image.Image]:
    foreground = Image.open(PICTURES / "glass.png")
    background = Image.open(PICTURES / "lake.png").convert("RGBA")
    return {
        Layer.FOREGROUND: foreground,
        Layer.BACKGROUND: background,
        Layer.BLENDED: Image.alpha_composite(background, foreground),
    }


class Task(NamedTuple):
    """One request: its name, its method, changed script arguments and changed fields."""

    name: str
    method: Method
    arguments: dict[str, Any]
    fields: dict[str, Any]


def tasks() -> Iterator[Task]:
    pictures = layers()
    for method in METHODS:
        given = {f"{SHORT[layer]}_image": pictures[layer] for layer in method.pictures}
        arguments = {"method": method.label, **given}
        yield Task(method.weights.name, method, arguments, {})
        if not method.pictures and method.frames == 1:
            fields = {"init_images": [pictures[Layer.FOREGROUND]], "denoising_strength": 0.5}
            yield Task(f"{method.weights.name}-img2img", method, arguments, fields)


def save(image: Image.Image, path: Path) -> str:
    metadata = PngImagePlugin.PngInfo()
    metadata.add_text("parameters", image.info["parameters"])
    image.save(path, pnginfo=metadata)
    transparency = "opaque"
    if image.mode == "RGBA":
        alpha = np.asarray(image)[..., 3]
        transparency = f"alpha {alpha.min()} to {alpha.max()}, mean {alpha.mean():.0f}"
    return f"{path}  {image.mode} {image.width}x{image.height}  {transparency}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python dev.py demo", description=__doc__)
    parser.add_argument(
        "--out", type=Path, default=Path("outputs"), help="folder for the PNGs (default: outputs)"
    )
    parser.add_argument("--prompt", default="a cup made of glass")
    parser.add_argument("--size", type=int, nargs=2, default=(256, 256), metavar=("WIDTH", "HEIGHT"))
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    width, height = options.size
    if min(width, height) < 8 or width % 8 or height % 8 or options.steps < 1:
        parser.error("width and height must be multiples of 8, and at least one step is needed")
    options.out.mkdir(parents=True, exist_ok=True)
    models_dir = options.out / "models"
    layer_files(models_dir / "layer_model", seed=1)
    configs = {SDXL: SDXL_MINIATURE, SD15: SD15_MINIATURE}
    webuis = {
        family: WebUI(load_base(base_state_dict(1, config), config)) for family, config in configs.items()
    }
    scripts = {family: load_script(partial(MiniatureHost, models_dir, family.key)) for family in webuis}
    for task in tasks():
        family = task.method.family
        request = Processing(
            webuis[family],
            prompt=options.prompt,
            width=width,
            height=height,
            steps=options.steps,
            seed=options.seed,
            scripts=[scripts[family]],
            script_args=list({**dict(ARGUMENTS), "enabled": True, **task.arguments}.values()),
            **task.fields,
        )
        try:
            images = webuis[family].process_images(request).images
        except LayerDiffuseError as error:
            print(f"{task.name}: {error}", file=sys.stderr)
            return 1
        for image, layer in zip(images, task.method.outputs, strict=True):
            suffix = f"-{layer.value}" if len(images) > 1 else ""
            print(save(image, options.out / f"{task.name}{suffix}.png"), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
