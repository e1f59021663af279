"""Jobs of the SD1.5 methods in the miniature WebUI."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lib_layerdiffusion.methods import METHODS, SD15, Method
from miniature.webui.processing import Processed

ALONE, FG2BG, BG2FG, JOINT = SD15_METHODS = tuple(method for method in METHODS if method.family is SD15)


Generate = Callable[..., Processed]


def name(method: Method) -> str:
    return method.weights.name


def near(first: np.ndarray, second: np.ndarray) -> bool:
    """Equal but for the last bits of sums over another batch size."""
    return bool(np.abs(first[..., :3] - second[..., :3]).max() <= 2)


def colours(result: Processed) -> np.ndarray:
    return np.stack([np.asarray(image.convert("RGB")).astype(int) for image in result.images])
