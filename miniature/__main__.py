"""The main job without a WebUI: every SDXL method and img2img, from the pictures beside this file to PNGs.

It runs scripts/forge_layerdiffusion.py, as a host does, over a diffusion model of four million parameters
with random weights: every step is the real one, but the pictures show noise.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin

from lib_layerdiffusion.errors import LayerDiffuseError
from lib_layerdiffusion.methods import METHODS, SDXL, Layer
from lib_layerdiffusion.settings import ARGUMENTS, SHORT
from miniature.host import MiniatureHost
from miniature.random_weights import base_state_dict, layer_files, load_base
from miniature.script import load_script
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


def jobs() -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    """Name of a job -> changed script arguments, changed fields of the request."""
    pictures = layers()
    found: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {}
    for method in METHODS:
        if method.family is SDXL:
            given = {f"{SHORT[layer]}_image": pictures[layer] for layer in method.pictures}
            found[method.weights.name] = {"method": method.label, **given}, {}
            if not method.pictures:
                fields = {"init_images": [pictures[Layer.FOREGROUND]], "denoising_strength": 0.5}
                found[f"{method.weights.name}-img2img"] = {"method": method.label}, fields
    return found


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
    webui = WebUI(load_base(base_state_dict(seed=1)))
    script = load_script(lambda: MiniatureHost(models_dir))
    for name, (arguments, fields) in jobs().items():
        request = Processing(
            webui,
            prompt=options.prompt,
            width=width,
            height=height,
            steps=options.steps,
            seed=options.seed,
            scripts=[script],
            script_args=list({**dict(ARGUMENTS), "enabled": True, **arguments}.values()),
            **fields,
        )
        try:
            (image,) = webui.process_images(request).images
        except LayerDiffuseError as error:
            print(f"{name}: {error}", file=sys.stderr)
            return 1
        print(save(image, options.out / f"{name}.png"), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
