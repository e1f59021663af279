"""Pictures that failed are tried again: how often, with what, and what stays if all fail, as these do."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from lib_layerdiffusion.errors import GenerationFailed
from lib_layerdiffusion.files.store import WeightStore
from lib_layerdiffusion.job.generation import Generation
from miniature.webui import infotext_format
from miniature.webui.host import MiniatureHost
from miniature.webui.processing import Processed, WebUI
from tests.helpers.buttons import PressBefore
from tests.helpers.jobs import DECODING, arguments, request
from tests.helpers.scripts import OtherScript
from tests.helpers.sd15_jobs import JOINT, Generate

Run = Callable[..., Processed]
TRANSPARENT, OTHER = DECODING[:2]


class Passes(OtherScript):
    """Writes down what every sampling pass of every job samples."""

    def __init__(self) -> None:
        self.seen: list[dict[str, Any]] = []
        self.prompts: list[str] = []

    def process_before_every_sampling(self, p: Any, *args: Any, **kwargs: Any) -> None:
        keys = {key: p.extra_generation_params.get(f"layerdiffusion_{key}") for key in ("method", "weight")}
        self.prompts += p.all_prompts
        self.seen.append({"seed": p.seeds[0], "count": len(kwargs["x"]), **keys})


@pytest.fixture
def run(webui: WebUI, script: Any, host: MiniatureHost) -> Callable[..., tuple[Processed, Passes]]:
    def run(most: int = 3, args: Any = None, others: Any = (), **settings: Any) -> tuple[Processed, Passes]:
        host.settings["layerdiffuse_retries"] = most
        p = request(webui, script, args or arguments(TRANSPARENT), seed=5, **settings)
        passes = Passes()
        p.scripts = [script, passes, *others]
        return webui.answer(p), passes

    return run


def test_it_is_off_unless_wanted(generate: Run, run: Any) -> None:
    result, passes = run(0)
    assert len(passes.seen) == 1
    assert "tries" not in result.js()
    assert result.images[0].tobytes() == generate(arguments(TRANSPARENT), seed=5).images[0].tobytes()


@pytest.mark.parametrize("most", [1, 2, 3])
def test_so_many_tries_and_no_more_and_what_was_tried_is_written_down(run: Any, most: int) -> None:
    plain, _ = run(0)
    result, passes = run(most)
    tried = [
        {"seed": 5, "count": 1, "method": OTHER.label, "weight": 1.0},
        {"seed": 6, "count": 1, "method": TRANSPARENT.label, "weight": 1.0},
        {"seed": 6, "count": 1, "method": OTHER.label, "weight": 1.0},
    ]
    assert passes.seen[1:] == tried[:most]
    other = f"method {OTHER.label} failed"
    texts = ["seed 5 failed", f"seed 5 {other}", "seed 6 failed", f"seed 6 {other}"]
    params = infotext_format.read(result.infotexts[0])
    assert params["layerdiffusion_tries"] == "; ".join(texts[: most + 1])
    (told,) = json.loads(result.js())["extra_generation_params"]["layerdiffusion_verdicts"]
    assert told["tries"] == texts[: most + 1]
    # none was better, so the first stays, with the text that makes it
    assert result.images[0].tobytes() == plain.images[0].tobytes()
    assert (params["Seed"], params["layerdiffusion_method"]) == ("5", TRANSPARENT.label)
    assert result.comments.count("failed") == plain.comments.count("failed")


def test_loras_go_along(run: Any) -> None:
    """Hosts take them out of a batch's prompts before it is sampled."""
    _, passes = run(1, prompt="a cup <lora:ink:1>")
    assert passes.prompts == ["a cup <lora:ink:1>"] * 2


def test_each_picture_is_tried_alone(run: Any) -> None:
    plain, _ = run(0, batch_size=2, n_iter=2)
    result, passes = run(1, batch_size=2, n_iter=2)
    assert [(one["seed"], one["count"]) for one in passes.seen] == [
        *((5, 2), (5, 1), (6, 1)),
        # the third is not one that failed
        *((7, 2), (8, 1)),
    ]
    assert [i.tobytes() for i in result.images] == [i.tobytes() for i in plain.images]
    assert result.all_seeds == plain.all_seeds


def test_another_large_file_is_not_fetched_for_a_try(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    there = WeightStore.has
    monkeypatch.setattr(WeightStore, "has", lambda self, file: file != OTHER.weights and there(self, file))
    _, passes = run(3)
    assert [one["method"] for one in passes.seen] == [TRANSPARENT.label] * 4
    assert [one["seed"] for one in passes.seen] == [5, 6, 5, 7]
    assert [one["weight"] for one in passes.seen] == [1.0, 1.0, 1.2, 1.0]


def test_layers_of_a_scene_belong_together(generate15: Generate, host15: MiniatureHost) -> None:
    host15.settings["layerdiffuse_retries"] = 3
    assert "tries" not in generate15(arguments(JOINT), batch_size=3).js()


@pytest.mark.parametrize("button", ["interrupted", "skipped"])
def test_a_button_ends_the_tries_and_the_picture_stays(run: Any, button: str) -> None:
    plain, _ = run(0)
    result, passes = run(3, others=[PressBefore(button, 2)])
    assert len(passes.seen) == 2
    assert result.images[0].tobytes() == plain.images[0].tobytes()


def test_a_try_that_ends_with_an_error_leaves_the_first_picture(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, _ = run(0)
    decode, count = Generation.decode, [0]

    def fail(self: Generation, *args: Any) -> Any:
        count[0] += 1
        if count[0] == 2:
            raise GenerationFailed("no")
        return decode(self, *args)

    monkeypatch.setattr(Generation, "decode", fail)
    result, passes = run(3)
    assert len(passes.seen) == 2
    assert result.images[0].tobytes() == plain.images[0].tobytes()
    assert infotext_format.read(result.infotexts[0])["layerdiffusion_tries"] == "seed 5 failed; error"


def test_nothing_is_left_behind(run: Any, generate: Run) -> None:
    before = generate(None, seed=3).images[0].tobytes()
    run(3)
    assert generate(None, seed=3).images[0].tobytes() == before
