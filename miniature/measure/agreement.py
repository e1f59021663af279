"""How well the layers that the SD1.5 methods make together fit together."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lib_layerdiffusion.methods import Layer
from lib_layerdiffusion.pictures.arithmetic import FloatImage
from miniature.measure.quality import Layers, as_float, border_and_middle, opaque, psnr, to_uint8
from miniature.training.layers import over, premultiplied
from miniature.webui.demo import METHOD, Trained

NOTHING = np.zeros((0, 0, 4), np.float32)
NAME = {Layer.FOREGROUND: "foreground", Layer.BACKGROUND: "background", Layer.BLENDED: "blended"}


class Frames(NamedTuple):
    """What an SD1.5 method makes of one scene: RGBA or RGB in [0, 1], empty where it is not made."""

    blended: FloatImage
    foreground: FloatImage = NOTHING
    background: FloatImage = NOTHING


def frames(trained: Trained, file: str, prompt: str, seed: int, **arguments: object) -> Frames:
    method = METHOD[file]
    result = trained.run([{"method": method.label, **arguments}], prompt=prompt, seed=seed)
    named = {NAME[layer]: as_float(one) for layer, one in zip(method.outputs, result.images, strict=True)}
    return Frames(**named)


def agreement(
    made: Frames, foreground: FloatImage | None = None, background: FloatImage | None = None
) -> float:
    """PSNR of the blended frame to the foreground over the background: the scene's own, or those given."""
    foreground = made.foreground if foreground is None else foreground
    background = made.background if background is None else background
    return psnr(made.blended, over(premultiplied(to_uint8(foreground)), background))


def together(trained: Trained, prompt: str, place: str, seed: int, **arguments: object) -> Frames:
    return frames(trained, "layer_sd15_joint", f"{prompt}, {place}", seed, **arguments)


def around_foreground(trained: Trained, scene: Layers, prompt: str) -> Frames:
    """Background and blended for a foreground; without a prompt only the picture tells what to show."""
    return frames(trained, "layer_sd15_fg2bg", prompt, 5, fg_image=scene.foreground)


def before_background(trained: Trained, scene: Layers, prompt: str) -> Frames:
    """Foreground and blended for a background; without a prompt only the picture tells what is behind."""
    return frames(trained, "layer_sd15_bg2fg", prompt, 5, bg_image=opaque(scene.background))


def foreground_kept(scene: Layers, made: Frames) -> float:
    """PSNR of the blended frame inside the foreground that was given."""
    return psnr(made.blended, as_float(scene.foreground)[..., :3], scene.solid)


def background_kept(scene: Layers, made: Frames) -> float:
    """PSNR of the blended frame to the background that was given, outside the foreground that was made."""
    return psnr(made.blended, scene.background, made.foreground[..., 3] <= 5 / 255)


def border(made: Frames) -> float:
    """Mean alpha of the foreground's border."""
    return border_and_middle(made.foreground[..., 3])[0]
