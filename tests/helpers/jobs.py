"""Jobs of the miniature WebUI as tests ask for them: pictures, script arguments, requests, results."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from lib_layerdiffusion.methods import METHODS, SDXL, Layer, Method
from lib_layerdiffusion.pictures.arithmetic import Uint8Image
from lib_layerdiffusion.request.settings import ARGUMENTS, SHORT
from miniature.webui.processing import Processed, Processing, WebUI

SDXL_METHODS = tuple(method for method in METHODS if method.family is SDXL)
DECODING = tuple(method for method in SDXL_METHODS if method.decodes_alpha)
CONDITIONED = tuple(method for method in SDXL_METHODS if method.pictures)

VERDICT = re.compile(r"(The picture|Picture \d+ of \d+): (weak|failed)\. ")

ONE_PASS = {"layerdiffuse_decode_passes": 1}
"""A setting for tests that do not look at how a picture is decoded."""


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


def request(webui: WebUI, script: Any, args: list[Any] | None = None, **settings: Any) -> Processing:
    values = {"prompt": "a cup made of glass", "steps": 2, "width": 64, "height": 64, **settings}
    return Processing(webui, scripts=[script], script_args=args if args is not None else [False], **values)


def notes(p: Processing) -> list[str]:
    """What is shown under the pictures, but for their verdicts."""
    return [line for line in p.comments if not VERDICT.match(line)]


def pixels(result: Processed) -> np.ndarray:
    """All pictures of a job as one array [N, H, W, C] of int, so that differences can be taken."""
    return np.stack([np.asarray(image).astype(int) for image in result.images])
