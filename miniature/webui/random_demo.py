"""All ten methods and img2img over random weights: every step is the real one, the pictures show noise."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from lib_layerdiffusion.methods import RELEASED, SD15, SDXL, Layer, Method
from lib_layerdiffusion.request.settings import ARGUMENTS, SHORT
from miniature.nets.random_weights import base_state_dict, layer_files, load_base
from miniature.nets.unet import SD15_MINIATURE, SDXL_MINIATURE
from miniature.webui.host import MiniatureHost
from miniature.webui.processing import Processing, WebUI
from miniature.webui.script import load_script

PICTURES = Path(__file__).parents[1] / "pictures"


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
    for method in RELEASED:
        given = {f"{SHORT[layer]}_image": pictures[layer] for layer in method.pictures}
        arguments = {"method": method.label, **given}
        yield Task(method.weights.name, method, arguments, {})
        if not method.pictures and method.frames == 1:
            fields = {"init_images": [pictures[Layer.FOREGROUND]], "denoising_strength": 0.5}
            yield Task(f"{method.weights.name}-img2img", method, arguments, fields)


def pictures(out: Path, prompt: str, steps: int, seed: int) -> Iterator[tuple[Image.Image, Path]]:
    """Each with the path that it belongs at. Raises LayerDiffuseError."""
    models_dir = out / "models"
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
            prompt=prompt,
            width=256,
            height=256,
            steps=steps,
            seed=seed,
            scripts=[scripts[family]],
            script_args=list({**dict(ARGUMENTS), "enabled": True, **task.arguments}.values()),
            **task.fields,
        )
        images = webuis[family].answer(request).images
        for image, layer in zip(images, task.method.outputs, strict=True):
            suffix = f"-{layer.value}" if len(images) > 1 else ""
            yield image, out / f"{task.name}{suffix}.png"
