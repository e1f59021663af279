"""What adapters see of buttons, samplers and scripts, and what hosts do with a picture that failed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from lib_layerdiffusion.errors import GenerationFailed
from lib_layerdiffusion.hosts import job_methods
from lib_layerdiffusion.hosts.left_out import LeftOut
from tests.helpers.stub_hosts import Stubbed


@pytest.mark.parametrize(
    ("interrupted", "skipped", "stopping"),
    [(False, False, False), (True, False, False), (False, True, False), (False, False, True)],
)
def test_buttons(stubbed: Stubbed, interrupted: bool, skipped: bool, stopping: bool) -> None:
    """A job that is to stop after the picture at hand is not broken off."""
    state = SimpleNamespace(interrupted=interrupted, skipped=skipped, stopping_generation=stopping)
    stubbed.modules["modules.shared"].state = state
    assert stubbed.adapter.interrupted() == interrupted
    assert stubbed.adapter.broken_off() == (interrupted or skipped)


def test_a_pass_without_a_step_asked_no_model(stubbed: Stubbed) -> None:
    asked = {steps: SimpleNamespace(model_wrap_cfg=SimpleNamespace(step=steps)) for steps in (0, 1, 20)}
    assert [stubbed.adapter.evaluated(sampler) for sampler in asked.values()] == [False, True, True]
    # whose sampler does not tell is taken to have asked
    assert stubbed.adapter.evaluated(None)


@pytest.mark.parametrize(
    ("arguments", "joined"), [((), False), ((0, "a"), False), ((None,), False), ((3, 0), True)]
)
def test_a_script_that_was_selected_joins_results(
    stubbed: Stubbed, arguments: tuple[Any, ...], joined: bool
) -> None:
    assert stubbed.adapter.joins_results(SimpleNamespace(script_args=arguments)) == joined


def test_a_picture_that_failed_is_not_saved_and_leaves_its_place_in_a_grid_empty(stubbed: Stubbed) -> None:
    images = stubbed.modules["modules.images"]
    laid_out: list[list[Any]] = []
    saved: list[Any] = []
    images.image_grid = lambda imgs, batch_size=1, rows=None: laid_out.append(imgs)
    images.save_image = lambda image, path, basename, **options: saved.append(image)
    stubbed.adapter.app_started(None, None)
    picture = Image.new("RGBA", (8, 8), (1, 2, 3, 4))
    failed = LeftOut(GenerationFailed("It failed."), 1, (8, 8))
    images.save_image(failed, "folder", "", info="text")
    images.save_image(picture, "folder", "", info="text")
    assert saved == [picture]
    images.image_grid([picture, failed], 2)
    (first, second) = laid_out[0]
    assert first is picture
    assert (second.size, second.getextrema()[3]) == ((8, 8), (0, 0))
    assert images.image_grid([failed, failed], 2) is failed
    assert len(laid_out) == 1


class Base:
    def init(self, prompts: list[str]) -> list[str]:
        return prompts


class Img2Img(Base):
    """A kind of job with an `init` of its own, as hosts have two."""

    def init(self, prompts: list[str]) -> list[str]:
        return [*super().init(prompts), "its own"]


def test_a_method_is_wrapped_once_for_one_object() -> None:
    first, second = Img2Img(), Base()
    for p in (first, second):
        job_methods.around_next(p, "init", lambda original, prompts: ["around", *original(prompts)])
    assert first.init(["a"]) == ["around", "a", "its own"]
    assert first.init(["a"]) == ["a", "its own"]
    assert second.init(["a"]) == ["around", "a"]
    job_methods.around_next(second, "init", lambda original, prompts: [])
    job_methods.forget(second)
    assert second.init(["a"]) == ["a"]
    assert Img2Img().init(["a"]) == ["a", "its own"]
