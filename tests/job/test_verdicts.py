"""What is told of each picture: under the gallery, in its infotext, and to the web API."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lib_layerdiffusion.job import finished_pictures, retries
from lib_layerdiffusion.pictures.arithmetic import Uint8Image
from lib_layerdiffusion.pictures.measures import measure
from lib_layerdiffusion.request import infotext
from miniature.webui import infotext_format
from miniature.webui.host import MiniatureHost
from miniature.webui.processing import Processed, WebUI
from tests.helpers.drawn import coloured, disc
from tests.helpers.jobs import CONDITIONED, DECODING, arguments
from tests.helpers.sd15_jobs import JOINT, Generate

Run = Callable[..., Processed]
TRANSPARENT = DECODING[0]
WORD = "layerdiffusion_verdict: "


def told(result: Processed) -> list[dict[str, Any]]:
    """What the web API is told."""
    listed: list[dict[str, Any]] = json.loads(result.js())["extra_generation_params"][
        "layerdiffusion_verdicts"
    ]
    return listed


def looking_like(monkeypatch: pytest.MonkeyPatch, *pictures: Uint8Image) -> list[tuple[Any, ...]]:
    """Have the pictures of a job judged as if they looked so; the list gets what would have been."""
    given: list[tuple[Any, ...]] = []

    def instead(*arguments: Any) -> Any:
        given.append(arguments)
        return measure(pictures[(len(given) - 1) % len(pictures)])

    monkeypatch.setattr(finished_pictures, "measure", instead)
    return given


CLEAN = coloured(disc(64, 20))
VEILED = coloured(np.maximum(disc(64, 20), 20))


def test_each_picture_is_judged_and_what_is_not_clean_is_said(
    generate: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = looking_like(monkeypatch, CLEAN, VEILED, CLEAN)
    result = generate(arguments(TRANSPARENT), batch_size=3)
    words = ["clean", "weak", "clean"]
    assert [text.partition(WORD)[2].partition(",")[0] for text in result.infotexts[:3]] == words
    assert [(one["picture"], one["verdict"]) for one in told(result)] == list(enumerate(words, 1))
    sentence = (
        "Picture 2 of 3: weak. A veil of alpha 20 lies over the background. Take it off with Clean veil"
    )
    assert next(line for line in result.comments.splitlines() if "Picture" in line).startswith(sentence)
    assert result.comments.count("Picture") == 1
    for picture, (rgba, before, _) in zip(result.images, given, strict=True):
        assert rgba.tobytes() == picture.tobytes()
        assert before.shape == (64, 64, 3)


def test_the_numbers_are_those_of_the_picture(generate: Run, host: MiniatureHost) -> None:
    host.settings["layerdiffuse_decode_passes"] = 2
    result = generate(arguments(TRANSPARENT))
    (numbers,) = told(result)
    known = measure(np.asarray(result.images[0]))
    for name, value in known._asdict().items():
        if value is not None:
            assert numbers[name] == pytest.approx(value, abs=1e-4)
    assert numbers["passes_apart"] > 0


def test_one_pass_has_nothing_to_differ_from(generate: Run) -> None:
    assert "passes_apart" not in told(generate(arguments(TRANSPARENT)))[0]


def test_a_picture_is_judged_as_it_was_decoded(generate: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    given = looking_like(monkeypatch, CLEAN)
    plain = generate(arguments(TRANSPARENT)).images[0]
    result = generate(arguments(TRANSPARENT, clean_veil=200, trim=True))
    assert given[-1][0].tobytes() == plain.tobytes()
    assert result.images[0].tobytes() != plain.tobytes()


def test_only_foregrounds_are_judged(generate: Run, generate15: Generate) -> None:
    result = generate15(arguments(JOINT), batch_size=3)
    assert [WORD in text for text in result.infotexts[:3]] == [True, False, False]
    assert [one["picture"] for one in told(result)] == [1]
    opaque = next(method for method in CONDITIONED if not method.decodes_alpha)
    assert "verdict" not in generate(arguments(opaque)).js()
    assert "verdict" not in generate().js()


def test_the_next_picture_has_a_verdict_of_its_own(
    generate: Run, monkeypatch: pytest.MonkeyPatch, host: MiniatureHost
) -> None:
    looking_like(monkeypatch, CLEAN, VEILED)
    result = generate(arguments(TRANSPARENT), n_iter=2)
    assert [WORD + word in text for text, word in zip(result.infotexts, ("clean", "weak"), strict=False)] == [
        True,
        True,
    ]


def test_a_replay_takes_no_notice_of_it() -> None:
    assert not any("verdict" in key or "tries" in key for key in infotext.keys().values())


@pytest.mark.parametrize("early", [False, True])
def test_text_file_and_answer_agree_whenever_the_host_writes_them(
    webui: WebUI,
    generate: Run,
    host: MiniatureHost,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    early: bool,
) -> None:
    """Both pictures fail; of the first another try, with more Weight, is taken."""
    webui.writes_infotexts_early, webui.outputs = early, tmp_path
    host.settings["layerdiffuse_retries"] = 1
    monkeypatch.setattr(retries, "REMEDIES", (retries.Remedy(heavier=True),))
    there = coloured(np.full((64, 64), 255, np.uint8))
    looking_like(monkeypatch, there, CLEAN, there, there, CLEAN)
    result = generate(arguments(TRANSPARENT), n_iter=3, seed=5)
    texts = [infotext_format.read(text) for text in result.infotexts[:3]]
    assert [text["layerdiffusion_verdict"] for text in texts] == ["clean", "failed", "clean"]
    assert [text["layerdiffusion_weight"] for text in texts] == ["1.2", "1.0", "1.0"]
    assert ["layerdiffusion_tries" in text for text in texts] == [True, True, False]
    assert result.info == result.infotexts[0]
    for picture, text, file in zip(
        result.images, result.infotexts, sorted(tmp_path.glob("*.png")), strict=False
    ):
        assert picture.info["parameters"] == text
        with Image.open(file) as saved:
            assert saved.info["parameters"] == text
