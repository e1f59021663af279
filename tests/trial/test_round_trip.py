"""The likely cause of a round trip that failed, from pictures that failed in a known way."""

from __future__ import annotations

import numpy as np
import pytest

from lib_layerdiffusion.pictures import sample
from lib_layerdiffusion.pictures.png import Raster, join
from lib_layerdiffusion.trial import round_trip

SIDE = 64
TRUE = sample.transparent(SIDE, SIDE)
GREY = sample.over(TRUE, join(SIDE, SIDE, *[bytes([127]) * SIDE**2] * 3))
NOISE = np.random.default_rng(1)


def pixels(picture: Raster) -> np.ndarray:
    shape = picture.height, picture.width, picture.channels
    return np.frombuffer(picture.values, np.uint8).reshape(shape).astype(int)


def raster(values: np.ndarray) -> Raster:
    height, width, channels = values.shape
    return Raster(width, height, channels, values.round().clip(0, 255).astype(np.uint8).tobytes())


def problem(values: np.ndarray, plain: Raster = GREY) -> str:
    return round_trip.judge(raster(values), TRUE, plain, GREY).problem


def test_a_small_error_is_no_problem() -> None:
    values = pixels(TRUE) + NOISE.normal(0, 8, (SIDE, SIDE, 4))
    assert problem(values) == ""


@pytest.mark.parametrize(
    ("order", "words"),
    [
        ((2, 1, 0, 3), "swapped channels: red and blue are swapped."),
        ((3, 0, 1, 2), "swapped channels: alpha stands before the colours."),
        ((3, 1, 2, 0), "swapped channels: alpha stands in the place of red."),
    ],
)
def test_swapped_channels(order: tuple[int, ...], words: str) -> None:
    assert problem(pixels(TRUE)[..., order]).endswith(f"Likely cause: {words}")


def test_other_causes() -> None:
    true = pixels(TRUE)
    alpha = true[..., 3:]
    # a decoder gives colours where nothing is visible too
    colours = np.where(alpha == 0, 120, true[..., :3])
    assert "alpha is inverted." in problem(np.dstack([colours, 255 - alpha]))
    assert "wrong latent scale: alpha is nearly the same" in problem(np.dstack([colours, alpha * 0 + 250]))
    assert "wrong latent scale: the alpha is that of the picture" in problem(
        np.dstack([colours, alpha * 0.4])
    )
    random = NOISE.integers(0, 256, (SIDE, SIDE, 1))
    assert "another file: alpha has nothing to do" in problem(np.dstack([colours, random]))
    redder = colours + np.array([45, -10, -10])
    found = problem(np.dstack([redder, alpha]))
    assert "it is 0.208 redder, where 0.039 is allowed." in found
    assert "the encoder's offset is too strong, which turns pictures red." in found
    noise = raster(NOISE.integers(0, 256, (SIDE, SIDE, 3)))
    assert "the checkpoint: without LayerDiffuse it brings" in problem(np.dstack([colours, random]), noise)
    opaque = round_trip.judge(raster(colours), TRUE, GREY, GREY)
    assert opaque.problem == "The picture that came back is RGB, without transparency."
