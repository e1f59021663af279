"""The checkpoint that drifted from the one that layer files were made for: a verdict, and another try."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from lib_layerdiffusion.pictures.geometry import trim
from lib_layerdiffusion.request import infotext
from miniature.measure.quality import ATTENTION, CONVOLUTION
from miniature.webui import infotext_format
from miniature.webui.demo import Trained
from miniature.webui.processing import Processed
from tests.helpers.trained import quickly

PROMPTS = ["tomato", "hamburger"]
"""With seeds 2 and 3: one that fails, and is clean with the other injection; and one that is clean."""


@pytest.fixture(scope="module")
def drifted() -> Iterator[Trained]:
    trained = Trained()
    trained.load_drifted()
    with quickly(trained):
        yield trained


def run(trained: Trained, retries: int, *given: Any, **fields: Any) -> Processed:
    trained.host.settings["layerdiffuse_retries"] = retries
    return trained.run(list(given) or [{}], **{"prompt": PROMPTS, "batch_size": 2, "seed": 2, **fields})


@pytest.fixture(scope="module")
def once(drifted: Trained) -> Processed:
    return run(drifted, 0)


@pytest.fixture(scope="module")
def again(drifted: Trained) -> Processed:
    return run(drifted, 3)


def words(result: Processed) -> list[str]:
    told = json.loads(result.js())["extra_generation_params"]["layerdiffusion_verdicts"]
    return [one["verdict"] for one in told]


def test_what_failed_is_said_and_made_again(once: Processed, again: Processed) -> None:
    assert words(once) == ["failed", "clean"]
    assert "Picture 1 of 2: failed. Patches of the background are left, on " in once.comments
    assert words(again) == ["clean", "clean"]
    assert "failed" not in again.comments
    before, after = (np.asarray(result.images[0])[..., 3] for result in (once, again))
    assert (before[:3] > 8).mean() > 0.3
    assert (after[:3] > 8).mean() < 0.05


def test_the_other_picture_stays(once: Processed, again: Processed) -> None:
    assert once.images[1].tobytes() == again.images[1].tobytes()
    assert once.infotexts[1] == again.infotexts[1]


def test_its_infotext_makes_the_delivered_picture(drifted: Trained, again: Processed) -> None:
    params = infotext_format.read(again.infotexts[0])
    assert params["layerdiffusion_method"] == CONVOLUTION.label
    assert params["layerdiffusion_tries"] == f"seed 2 failed; seed 2 method {CONVOLUTION.label} clean"
    replayed = {name: key(params) for name, key in infotext.keys().items() if not name.endswith("_image")}
    made = run(drifted, 0, replayed, prompt=PROMPTS[0], batch_size=1, seed=int(params["Seed"]))
    assert made.images[0].tobytes() == again.images[0].tobytes()


def test_it_is_finished_like_any_other(drifted: Trained, again: Processed) -> None:
    finished = run(drifted, 3, {"method": ATTENTION.label, "trim": True, "trim_margin": 2})
    assert np.array_equal(np.asarray(finished.images[0]), trim(np.asarray(again.images[0]), 2))


def test_an_init_picture_is_what_each_try_begins_with(drifted: Trained, again: Processed) -> None:
    start = {"init_images": again.images[:2], "denoising_strength": 0.9, "prompt": PROMPTS}
    result = run(drifted, 1, **start)
    params = infotext_format.read(result.infotexts[0])
    assert params["layerdiffusion_tries"].startswith("seed 2 failed; ")
    alone = run(
        drifted,
        0,
        {"method": CONVOLUTION.label},
        **{**start, "init_images": again.images[:1], "prompt": PROMPTS[0], "batch_size": 1},
    )
    tried = params["layerdiffusion_method"] == CONVOLUTION.label
    assert (result.images[0].tobytes() == alone.images[0].tobytes()) is tried
