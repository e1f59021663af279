"""The trained family in the miniature WebUI, and a tour through everything that it can do."""

from __future__ import annotations

import base64
import weakref
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from lib_layerdiffusion.job.layer_results import ANSWER_KEY
from lib_layerdiffusion.methods import ANIMA, METHODS, RELEASED, SD15, SDXL, Family, Layer, Method
from miniature.nets.random_weights import BaseModel
from miniature.nets.trained import SIDE, load_drifted, load_trained, write_layer_files
from miniature.training.backgrounds import PLACES
from miniature.webui.checkpoints import Checkpoint
from miniature.webui.host import MiniatureHost
from miniature.webui.processing import Processed, Processing, WebUI
from miniature.webui.script import load_script

PICTURES = Path(__file__).parents[1] / "pictures"
STEPS, GUIDANCE = 20, 4.0
DRIFTED = "sdxl, drifted"
"""The checkpoint that is far from what the layer files were made for."""
METHOD = {method.weights.name: method for method in METHODS if method.files}


class Trained:
    """A WebUI with a trained base model and the extension's script in it.

    `models_dir` is the folder of models, which must have the layer files; by default one of its own. `steps`
    are those of a job that does not say how many.
    """

    steps = STEPS

    def __init__(self, family: Family = SDXL, models_dir: Path | None = None) -> None:
        if models_dir is None:
            models_dir = Path(mkdtemp(prefix="layerdiffuse-"))
            weakref.finalize(self, rmtree, models_dir, ignore_errors=True)
            write_layer_files(models_dir)
        self._webuis: dict[Family, WebUI] = {}
        self.host = MiniatureHost(models_dir)
        self.host.others = {
            SDXL.key: partial(self._other, SDXL.key, lambda: load_trained(SDXL)),
            SD15.key: partial(self._other, SD15.key, lambda: load_trained(SD15)),
            DRIFTED: partial(self._other, DRIFTED, load_drifted),
        }
        self._others: dict[str, Checkpoint] = {}
        self.script = load_script(lambda: self.host)
        self.load(family)

    def load(self, family: Family) -> None:
        """Choose the checkpoint."""
        if family not in self._webuis:
            self._webuis[family] = WebUI(load_trained(family))
        self.webui = self._webuis[family]
        self.host.family = family.key
        self.host.title = f"the trained miniature of {family.title}"

    def _other(self, name: str, load: Callable[[], BaseModel]) -> Checkpoint:
        """Return a checkpoint that another job may ask for, loaded at the first time."""
        if name not in self._others:
            self._others[name] = Checkpoint(load(), name.partition(",")[0], name)
        return self._others[name]

    def load_drifted(self) -> None:
        """Choose the SDXL-like checkpoint that is far from what the layer files were made for."""
        self.webui = WebUI(load_drifted())
        self.host.family, self.host.title = SDXL.key, "the drifted miniature of SDXL"

    def run(self, arguments: list[Any], **fields: Any) -> Processed:
        """`arguments` are the script's; its first may hold all of them by name. Raises LayerDiffuseError."""
        usual = {"width": SIDE, "height": SIDE, "steps": self.steps, "cfg_scale": GUIDANCE}
        request = Processing(self.webui, scripts=[self.script], script_args=arguments, **{**usual, **fields})
        return self.webui.answer(request)

    def run_layers(self, *values: Any, **fields: Any) -> Processed:
        """Run the script of the list: one object of values by name, or the page's values."""
        usual = {"width": SIDE, "height": SIDE, "steps": self.steps, "cfg_scale": GUIDANCE}
        request = Processing(self.webui, scripts=[self.script], script_args=[False], **{**usual, **fields})
        return self.webui.answer(request, self.script.layers.run, *values)


class Made(NamedTuple):
    """`layers` name the pictures of a result that has several."""

    name: str
    result: Processed
    layers: tuple[str, ...] = ("",)


def layered(trained: Trained, objects: Sequence[str], where: str, seed: int, **fields: Any) -> bytes:
    """The PSD of a place with objects in it, made by the script of the list."""
    values = {"objects": list(objects), "layers": "PSD"}
    result = trained.run_layers(values, prompt=where, seed=seed, **fields)
    (files,) = result.extra_generation_params[ANSWER_KEY]
    return base64.b64decode(files["psd"])


def place(name: str, seed: int = 0) -> Image.Image:
    """One of the backgrounds that the generator knows by name, opaque RGBA."""
    rgb = PLACES[name](np.random.default_rng(seed), SIDE, SIDE)
    return Image.fromarray((rgb * 255).round().astype(np.uint8)).convert("RGBA")


def tour(trained: Trained, concept: str, where: str, seed: int, **fields: Any) -> Iterator[Made]:
    """Every method, fed with the results of the ones before, and the other controls."""

    def run(name: str, method: Method, prompt: str, changes: dict[str, Any], **more: Any) -> Made:
        arguments = {
            "method": method.label,
            **{k: np.asarray(v) if isinstance(v, Image.Image) else v for k, v in changes.items()},
        }
        result = trained.run([arguments], prompt=prompt, seed=seed, **{**fields, **more})
        layers = tuple(f"-{layer.value}" for layer in method.outputs) if method.frames > 1 else ("",)
        return Made(name, result, layers)

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
    trained.load(SD15)
    pictures = {Layer.FOREGROUND: {"fg_image": foreground}, Layer.BACKGROUND: {"bg_image": background}}
    for method in RELEASED:
        if method.family is SD15:
            given = {name: one for layer in method.pictures for name, one in pictures[layer].items()}
            yield run(method.weights.name, method, both if method.frames > 1 else concept, given)
    trained.load(ANIMA)
    for method in METHODS:
        if method.family is ANIMA:
            yield run(method.weights.name, method, concept, {})
    trained.load(SDXL)
