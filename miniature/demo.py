"""The trained family in the miniature WebUI, and a tour through everything that it can do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from lib_layerdiffusion.methods import METHODS, SDXL, Method
from miniature.host import MiniatureHost
from miniature.script import load_script
from miniature.trained import SIDE, WEIGHTS, load_trained
from miniature.training.backgrounds import PLACES
from miniature.webui import Processed, Processing, WebUI

PICTURES = Path(__file__).parent / "pictures"
STEPS, GUIDANCE = 20, 4.0
METHOD = {method.weights.name: method for method in METHODS if method.family is SDXL}


class Trained:
    """A WebUI with the trained base model and the extension's script in it."""

    def __init__(self, models_dir: Path = WEIGHTS) -> None:
        self.webui = WebUI(load_trained())
        self.host = MiniatureHost(models_dir, SDXL.key)
        self.host.title = "the trained miniature"
        self.script = load_script(lambda: self.host)

    def run(self, arguments: list[Any], **fields: Any) -> Processed:
        """`arguments` are the script's; its first may hold all of them by name. Raises LayerDiffuseError."""
        usual = {"width": SIDE, "height": SIDE, "steps": STEPS, "cfg_scale": GUIDANCE}
        request = Processing(self.webui, scripts=[self.script], script_args=arguments, **{**usual, **fields})
        return self.webui.process_images(request)


class Made(NamedTuple):
    name: str
    result: Processed


def place(name: str, seed: int = 0) -> Image.Image:
    """One of the backgrounds that the generator knows by name, opaque RGBA."""
    rgb = PLACES[name](np.random.default_rng(seed), SIDE, SIDE)
    return Image.fromarray((rgb * 255).round().astype(np.uint8)).convert("RGBA")


def tour(trained: Trained, concept: str, where: str, seed: int, **fields: Any) -> Iterator[Made]:
    """Every SDXL-shaped method, fed with the results of the ones before; then the other controls."""

    def run(name: str, method: Method, prompt: str, changes: dict[str, Any], **more: Any) -> Made:
        arguments = {
            "method": method.label,
            **{k: np.asarray(v) if isinstance(v, Image.Image) else v for k, v in changes.items()},
        }
        return Made(name, trained.run([arguments], prompt=prompt, seed=seed, **{**fields, **more}))

    def image(made: Made) -> Image.Image:
        picture: Image.Image = made.result.images[0]
        return picture.convert("RGBA")

    both = f"{concept}, {where}"
    attention, convolution = METHOD["layer_xl_transparent_attn"], METHOD["layer_xl_transparent_conv"]
    yield Made("checkpoint-alone", trained.run([False], prompt=both, seed=seed, **fields))
    transparent = run(attention.weights.name, attention, concept, {})
    yield transparent
    yield run(convolution.weights.name, convolution, concept, {})
    foreground = image(transparent)
    method = METHOD["layer_xl_fg2ble"]
    blended = run(method.weights.name, method, both, {"fg_image": foreground})
    yield blended
    method = METHOD["layer_xl_fgble2bg"]
    yield run(method.weights.name, method, where, {"fg_image": foreground, "blend_image": image(blended)})
    method, background = METHOD["layer_xl_bg2ble"], place(where)
    blended = run(method.weights.name, method, both, {"bg_image": background})
    yield blended
    method = METHOD["layer_xl_bgble2fg"]
    yield run(method.weights.name, method, concept, {"bg_image": background, "blend_image": image(blended)})
    start = {"init_images": [foreground], "denoising_strength": 0.5}
    yield run("img2img", attention, concept, {}, **start)
    yield run("weight-0.5", attention, concept, {"weight": 0.5})
    yield run("stop-at-0.5", attention, concept, {"ending_step": 0.5})
