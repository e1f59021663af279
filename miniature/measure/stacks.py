"""How well the stacks of layers fit together that the script of the list makes."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image

from lib_layerdiffusion.pictures.arithmetic import FloatImage
from miniature.measure.quality import Layers, as_float, psnr, to_uint8
from miniature.training.layers import over, premultiplied
from miniature.webui.demo import Trained

DIFFERS = 0.12
"""Of [0, 1]: more than a blended picture differs from its background where nothing was put."""


STACKS = (
    ("sea", ("lemon", "owl")),
    ("meadow", ("red apple", "star")),
    ("desert", ("key", "crown")),
    ("night", ("rocket", "moon")),
    ("snow", ("mushroom", "fox")),
    ("sea", ("pear", "penguin")),
    ("meadow", ("balloon", "rose")),
    ("sunset", ("cactus", "car")),
)
"""What is measured: a place, and two objects one after the other."""


class Put(NamedTuple):
    """One object of a stack: IoU of its alpha with where the blended picture differs from what was there,
    and PSNR of the object over what was there to the blended picture."""

    covers: float
    agrees: float


class Stacked(NamedTuple):
    """Objects in their order, and the PSNR of the first composite to the second where the second is not."""

    objects: list[Put]
    kept: float


def stacked(trained: Trained, place: str, objects: tuple[str, str], seed: int, **values: object) -> Stacked:
    """Two objects on a generated background."""
    asked = {"objects": list(objects), "keep_between": True, **values}
    result = trained.run_layers(asked, prompt=place, seed=seed)
    _, background, blended, first, blended_too, second = map(as_float, result.images)
    after_first = _over(first, background)
    puts = [_put(first, background, blended), _put(second, after_first, blended_too)]
    where = second[..., 3] < 0.02
    return Stacked(puts, psnr(after_first, _over(second, after_first), where))


def _over(rgba: FloatImage, below: FloatImage) -> FloatImage:
    return over(premultiplied(to_uint8(rgba)), below)


def _put(rgba: FloatImage, below: FloatImage, blended: FloatImage) -> Put:
    alpha, differs = rgba[..., 3] > 0.5, np.abs(blended - below).max(-1) > DIFFERS
    covers = (alpha & differs).sum() / max((alpha | differs).sum(), 1)
    return Put(float(covers), psnr(_over(rgba, below), blended))


class TakenOut(NamedTuple):
    """PSNR of the background behind the object, mean error of its alpha, PSNR of the stack to the picture."""

    behind: float
    alpha: float
    composite: float


def taken_out(trained: Trained, scene: Layers, seed: int = 5) -> TakenOut:
    """An object out of a picture that was composed: its layers are known."""
    truth = as_float(scene.foreground)[..., 3]
    shape = (truth > 0.1).astype(np.uint8) * 255
    mask = cv2.dilate(shape, np.ones((9, 9), np.uint8))
    result = trained.run_layers(
        {"kind": "cut_out", "objects": scene.prompt},
        prompt=scene.place,
        seed=seed,
        init_images=[Image.fromarray(to_uint8(scene.blended))],
        image_mask=Image.fromarray(mask),
    )
    composite, background, made = map(as_float, result.images)
    behind = psnr(background, scene.background, truth > 0.5)
    return TakenOut(
        behind, float(np.abs(made[..., 3] - truth).mean()), psnr(composite[..., :3], scene.blended)
    )
