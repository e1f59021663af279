"""Trained checkpoints repaint what another one made: the transparency stays, and the look changes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lib_layerdiffusion.methods import KEEP, SD15, SDXL, Family
from miniature.measure.quality import ATTENTION
from miniature.webui.demo import DRIFTED, METHOD, Trained
from miniature.webui.processing import Processed
from tests.helpers.trained import quickly

SD15_ATTENTION = METHOD["layer_sd15_transparent_attn"]
METHODS = {SDXL: ATTENTION, SD15: SD15_ATTENTION}
APPLE: dict[str, Any] = {"prompt": "red apple", "seed": 3}


@pytest.fixture(scope="module")
def trained() -> Iterator[Trained]:
    trained = Trained()
    with quickly(trained):
        yield trained


def is_a_red_apple(picture: Image.Image) -> bool:
    """Red in the middle, nothing at the border."""
    pixels = np.asarray(picture).astype(int)
    middle = pixels[52:76, 52:76]
    border = np.r_[pixels[:4].reshape(-1, 4), pixels[:, :4].reshape(-1, 4)]
    red, green, blue, alpha = middle.reshape(-1, 4).mean(axis=0)
    return bool(border[:, 3].mean() < 12 and alpha > 240 and red > blue + 60 and red > green + 30)


def word(result: Processed) -> str:
    (told,) = json.loads(result.js())["extra_generation_params"]["layerdiffusion_verdicts"]
    return str(told["verdict"])


@pytest.mark.parametrize(("first", "second"), [(SDXL, SD15), (SD15, SDXL)], ids=["to", "back"])
def test_an_apple_of_one_family_is_repainted_by_the_other(
    trained: Trained, first: Family, second: Family
) -> None:
    trained.load(first)
    apple = trained.run([{"method": METHODS[first].label}], **APPLE).images[0]
    assert is_a_red_apple(apple)
    trained.load(second)
    result = trained.run([{"method": KEEP.label}], init_images=[apple], denoising_strength=0.5, **APPLE)
    (again,) = result.images
    assert is_a_red_apple(again)
    assert word(result) == "clean"
    before, after = (np.asarray(one).astype(int) for one in (apple, again))
    assert np.abs(before - after)[..., 3].mean() < 6
    inside = before[..., 3] == 255
    assert np.abs(before - after)[inside].mean() > 2
    exact = {"method": KEEP.label, "follow_new_edges": 0}
    (same,) = trained.run([exact], init_images=[apple], denoising_strength=0.5, **APPLE).images
    assert (np.asarray(same)[..., 3] == before[..., 3]).all()


@pytest.mark.parametrize("painter", [SD15.key, DRIFTED])
def test_both_steps_in_one_click(trained: Trained, painter: str) -> None:
    trained.load(SDXL)
    plain = trained.run([{}], **APPLE)
    result = trained.run([{"repaint_with": painter}], **APPLE)
    assert is_a_red_apple(result.images[0])
    assert word(result) == "clean"
    assert f"layerdiffusion_repaint_with: {painter}" in result.info.replace('"', "")
    assert (np.asarray(result.images[0]) != np.asarray(plain.images[0])).any()
    assert (np.asarray(trained.run([{}], **APPLE).images[0]) == np.asarray(plain.images[0])).all()
