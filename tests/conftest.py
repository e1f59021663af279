"""The miniature WebUI with the extension's script in it, as fixtures."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest
import torch

from lib_layerdiffusion.images import Uint8Image
from lib_layerdiffusion.methods import METHODS, SDXL, Layer, Method
from lib_layerdiffusion.settings import ARGUMENTS, SHORT
from miniature import measure
from miniature.host import MiniatureHost
from miniature.random_weights import BaseModel, base_state_dict, layer_files, load_base
from miniature.script import load_script
from miniature.training.emoji import CONCEPTS, Emoji
from miniature.unet import SD15_MINIATURE
from miniature.webui import Processed, Processing, WebUI

# the miniature is too small to gain from more, and loses much where other work shares the cores
torch.set_num_threads(1)

# a busy machine is no failure, and a check that passed passes again
hypothesis.settings.register_profile("repeatable", deadline=None, derandomize=True)
hypothesis.settings.load_profile("repeatable")

SDXL_METHODS = tuple(method for method in METHODS if method.family is SDXL)
DECODING = tuple(method for method in SDXL_METHODS if method.decodes_alpha)
CONDITIONED = tuple(method for method in SDXL_METHODS if method.pictures)


def picture(layer: Layer = Layer.FOREGROUND, width: int = 120, height: int = 100) -> Uint8Image:
    """RGBA test picture: a soft disc for the foreground, opaque gradients for the others."""
    y, x = np.mgrid[:height, :width]
    distance = np.hypot(x / width - 0.5, y / height - 0.45)
    disc = np.clip((0.36 - distance) * 12, 0, 1) * 255
    if layer is Layer.FOREGROUND:
        channels = [200 - 120 * x / width, 40 + 160 * y / height, 90 + 60 * np.sin(x / 9), disc]
    elif layer is Layer.BACKGROUND:
        channels = [90 + 80 * np.sin(y / 17), 120 + 100 * x / width, 220 - 150 * y / height, disc * 0 + 255]
    else:
        channels = [disc, 120 + 100 * x / width, 60 + 100 * y / height, disc * 0 + 255]
    return np.stack(channels, axis=-1).round().astype(np.uint8)


def arguments(method: Method | str = SDXL_METHODS[0], **changes: Any) -> list[Any]:
    """The twelve script arguments, enabled, with every picture that the method needs."""
    values = {**dict(ARGUMENTS), "enabled": True}
    if isinstance(method, Method):
        values["method"] = method.label
        values |= {f"{SHORT[layer]}_image": picture(layer) for layer in method.pictures}
    else:
        values["method"] = method
    unknown = set(changes) - set(values)
    assert not unknown, unknown
    return list({**values, **changes}.values())


@pytest.fixture(scope="session")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    layer_files(folder / "layer_model", seed=1)
    return folder


@pytest.fixture(scope="session")
def base() -> BaseModel:
    return load_base(base_state_dict(seed=1))


@pytest.fixture(scope="session")
def base15() -> BaseModel:
    return load_base(base_state_dict(1, SD15_MINIATURE), SD15_MINIATURE)


@pytest.fixture(scope="session")
def known() -> Emoji:
    """What the miniature is trained on, shown by other pictures: the real ones are not committed."""
    pictures = list(measure.held_out().values())
    names = list(CONCEPTS)
    return Emoji(names, np.stack([pictures[n % len(pictures)] for n in range(len(names))]))


@pytest.fixture
def host(models_dir: Path) -> MiniatureHost:
    return MiniatureHost(models_dir)


@pytest.fixture
def script(host: MiniatureHost) -> Any:
    return load_script(lambda: host)


@pytest.fixture
def make_webui(base: BaseModel) -> Callable[[], WebUI]:
    """A WebUI as after a fresh start: networks that nothing was ever merged into."""
    return lambda: WebUI(copy.deepcopy(base))


@pytest.fixture
def webui(make_webui: Callable[[], WebUI]) -> WebUI:
    return make_webui()


@pytest.fixture
def generate(webui: WebUI, script: Any) -> Callable[..., Processed]:
    """Run a job of two steps at 64x64; `args` None is the extension switched off."""

    def run(args: list[Any] | None = None, **settings: Any) -> Processed:
        return webui.process_images(request(webui, script, args, **settings))

    return run


def request(webui: WebUI, script: Any, args: list[Any] | None = None, **settings: Any) -> Processing:
    values = {"prompt": "a cup made of glass", "steps": 2, "width": 64, "height": 64, **settings}
    return Processing(webui, scripts=[script], script_args=args if args is not None else [False], **values)


def pixels(result: Processed) -> np.ndarray:
    """All pictures of a job as one array [N, H, W, C] of int, so that differences can be taken."""
    return np.stack([np.asarray(image).astype(int) for image in result.images])
