"""Every way in which a host ends a sampling pass early: what there is so far is delivered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from lib_layerdiffusion.errors import GenerationFailed
from lib_layerdiffusion.methods import METHODS, SD15
from miniature.nets.random_weights import BaseModel
from miniature.webui.host import MiniatureHost
from miniature.webui.processing import Processed, WebUI
from miniature.webui.sampler import Sampler
from tests.helpers.buttons import PressBefore, press_after
from tests.helpers.fresh_networks import fresh
from tests.helpers.jobs import CONDITIONED, DECODING, arguments, request
from tests.helpers.scripts import StepTaker

TRANSPARENT, BLENDING = DECODING[0], CONDITIONED[0]
SCENE = next(method for method in METHODS if method.family is SD15 and method.frames > 1)
METHOD_MODES = {TRANSPARENT: ["RGBA"], BLENDING: ["RGB"], SCENE: ["RGB", "RGB"]}
HIRES = {"enable_hr": True, "hr_scale": 2.0}

Run = Callable[..., Processed]


@pytest.fixture
def run(base: BaseModel, base15: BaseModel, host: MiniatureHost, script: Any) -> Run:
    def run(method: Any, *others: Any, **settings: Any) -> Processed:
        host.family = method.family.key
        webui = WebUI(fresh(base15 if method.family is SD15 else base))
        p = request(webui, script, arguments(method), **settings)
        p.scripts = [script, *others]
        return webui.answer(p)

    return run


def modes(result: Processed) -> list[str]:
    return [image.mode for image in result.images]


@pytest.mark.parametrize("button", ["interrupted", "skipped"])
@pytest.mark.parametrize("method", METHOD_MODES, ids=lambda method: method.label)
def test_a_pass_that_ends_before_its_first_step(run: Run, method: Any, button: str) -> None:
    result = run(method, PressBefore(button))
    assert modes(result) == METHOD_MODES[method]
    assert np.asarray(result.images[0]).std() > 0


@pytest.mark.parametrize("button", ["interrupted", "skipped"])
@pytest.mark.parametrize("method", METHOD_MODES, ids=lambda method: method.label)
def test_a_pass_that_ends_after_a_step(
    run: Run, monkeypatch: pytest.MonkeyPatch, method: Any, button: str
) -> None:
    asked = press_after(monkeypatch, button, 1)
    result = run(method, steps=3)
    assert len(asked) == 1
    assert modes(result) == METHOD_MODES[method]


@pytest.mark.parametrize(("button", "size"), [("interrupted", 64), ("skipped", 128)])
@pytest.mark.parametrize("evaluations", [0, 1])
def test_a_first_pass_that_ends_early_before_a_highres_one(
    run: Run, monkeypatch: pytest.MonkeyPatch, button: str, size: int, evaluations: int
) -> None:
    """Interrupt leaves the highres pass out; after Skip it begins, and ends before its first step."""
    asked = press_after(monkeypatch, button, evaluations)
    others = () if evaluations else (PressBefore(button),)
    result = run(TRANSPARENT, *others, steps=3, **HIRES)
    assert len(asked) == evaluations
    assert modes(result) == ["RGBA"]
    assert result.images[0].size == (size, size)


@pytest.mark.parametrize("button", ["interrupted", "skipped"])
def test_a_highres_pass_that_ends_early(run: Run, monkeypatch: pytest.MonkeyPatch, button: str) -> None:
    asked = press_after(monkeypatch, button, 4)
    result = run(TRANSPARENT, steps=3, **HIRES)
    assert len(asked) == 4
    assert modes(result) == ["RGBA"]
    assert result.images[0].size == (128, 128)


@pytest.mark.parametrize(
    ("button", "batches"), [("interrupted", 1), ("stopping_generation", 1), ("skipped", 3)]
)
def test_the_batches_after_it(run: Run, button: str, batches: int) -> None:
    """Skip is for one batch; the others end the job with what there is."""
    full = [image.tobytes() for image in run(TRANSPARENT, n_iter=3).images]
    result = run(TRANSPARENT, PressBefore(button), n_iter=3)
    found = [image.tobytes() for image in result.images]
    assert modes(result) == ["RGBA"] * batches
    assert found[1:] == full[1:batches]
    assert (found[0] == full[0]) == (button == "stopping_generation")


@pytest.mark.parametrize("evaluations", [0, 1])
def test_a_sampler_that_stops_by_itself(run: Run, monkeypatch: pytest.MonkeyPatch, evaluations: int) -> None:
    """No button tells why: an extension ended the pass, or Python's stack was full."""
    sample = Sampler.sample_img2img

    def stop(self: Sampler, p: Any, start: torch.Tensor, sigmas: torch.Tensor) -> torch.Tensor:
        return sample(self, p, start, sigmas[: evaluations + 1])

    monkeypatch.setattr(Sampler, "sample_img2img", stop)
    assert modes(run(TRANSPARENT, steps=3)) == ["RGBA"]


@pytest.mark.parametrize("button", ["interrupted", "skipped"])
@pytest.mark.parametrize("settings", [{}, HIRES], ids=["plain", "hires"])
def test_a_model_that_was_taken_away_is_noticed_in_a_pass_that_ends_early(
    run: Run, monkeypatch: pytest.MonkeyPatch, button: str, settings: Any
) -> None:
    press_after(monkeypatch, button, 1)
    with pytest.raises(GenerationFailed, match="put its own model in the place"):
        run(BLENDING, StepTaker(), steps=3, **settings)


def test_a_model_that_was_taken_away_from_the_first_pass_only(run: Run) -> None:
    class FirstTaker(StepTaker):
        def takes(self, p: Any) -> bool:
            return not p.is_hr_pass

    with pytest.raises(GenerationFailed, match="put its own model in the place"):
        run(TRANSPARENT, FirstTaker(), **HIRES)


def test_a_batch_that_ended_before_its_first_step_says_nothing_about_the_next(run: Run) -> None:
    class SecondTaker(StepTaker):
        def takes(self, p: Any) -> bool:
            return bool(p.iteration == 1)

    result = run(TRANSPARENT, PressBefore("skipped"), SecondTaker(), n_iter=2)
    assert modes(result) == ["RGBA"]
    assert "Picture 2 of 2 is left out: Another extension put its own model in the place" in result.comments


def test_a_batch_whose_model_was_taken_away_says_nothing_about_the_next(run: Run) -> None:
    class FirstTaker(StepTaker):
        def takes(self, p: Any) -> bool:
            return bool(p.iteration == 0)

    result = run(TRANSPARENT, FirstTaker(), n_iter=2)
    assert modes(result) == ["RGBA"]
    assert result.comments.startswith("Picture 1 of 2 is left out: Another extension put its own model")
