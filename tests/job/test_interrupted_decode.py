"""Interrupt and Skip while a picture is decoded: it is finished with the passes that it has."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from miniature.webui.host import MiniatureHost
from miniature.webui.processing import Processed
from miniature.webui.state import state
from tests.helpers.buttons import PressBefore
from tests.helpers.jobs import DECODING, arguments, request
from tests.helpers.scripts import OtherScript

Generate = Callable[..., Processed]
ARGUMENTS = arguments(DECODING[0])


@pytest.fixture(autouse=True)
def every_pass(host: MiniatureHost) -> None:
    host.settings["layerdiffuse_decode_passes"] = 8


def press_in_decode(monkeypatch: pytest.MonkeyPatch, button: str, picture: int, passes: int) -> list[str]:
    """Press a button when the picture of this number has so many passes; return the list of all passes."""
    report = MiniatureHost.report
    shown: list[str] = []

    def watch(self: MiniatureHost, text: str, fraction: float | None) -> None:
        report(self, text, fraction)
        if text.startswith("decoding"):
            shown.append(text.rpartition(": ")[2])
        begun = sum(line.startswith("1 of") for line in shown)
        if (begun, text.rpartition(": ")[2]) == (picture, f"{passes} of 8"):
            setattr(state, button, True)

    monkeypatch.setattr(MiniatureHost, "report", watch)
    return shown


@pytest.mark.parametrize("button", ["interrupted", "skipped"])
@pytest.mark.parametrize("passes", [1, 3, 7])
def test_the_picture_has_the_passes_that_are_done(
    generate: Generate, host: MiniatureHost, monkeypatch: pytest.MonkeyPatch, button: str, passes: int
) -> None:
    shown = press_in_decode(monkeypatch, button, 1, passes)
    result = generate(ARGUMENTS)
    assert shown == [f"{n} of 8" for n in range(1, passes + 1)]
    assert host.reported[-1] == ("", None)
    (picture,) = result.images
    assert picture.mode == "RGBA"
    sentence = f"The decode was interrupted: the picture has {passes} of 8 passes."
    assert sentence in result.comments
    assert json.loads(result.js())["extra_generation_params"]["layerdiffusion_notes"] == [sentence]
    if passes == 1:
        host.settings["layerdiffuse_decode_passes"] = 1
        assert picture.tobytes() == generate(ARGUMENTS).images[0].tobytes()


def test_a_button_after_the_last_pass_changes_nothing(
    generate: Generate, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = generate(ARGUMENTS).images[0]
    press_in_decode(monkeypatch, "interrupted", 1, 8)
    result = generate(ARGUMENTS)
    assert result.images[0].tobytes() == whole.tobytes()
    assert "interrupted" not in result.comments


@pytest.mark.parametrize(
    ("button", "settings", "passes"),
    [
        ("interrupted", {"batch_size": 3}, [8, 3, 1]),
        ("skipped", {"batch_size": 3}, [8, 3, 1]),
        ("interrupted", {"n_iter": 3}, [8, 3]),
        ("skipped", {"n_iter": 3}, [8, 3, 8]),
    ],
)
def test_the_pictures_before_and_after_it(
    generate: Generate, monkeypatch: pytest.MonkeyPatch, button: str, settings: Any, passes: list[int]
) -> None:
    """Those of its batch, which are sampled, have one pass each; the batches after it are made after Skip."""
    whole = generate(ARGUMENTS, **settings)
    shown = press_in_decode(monkeypatch, button, 2, 3)
    result = generate(ARGUMENTS, **settings)
    assert shown == [f"{n} of 8" for count in passes for n in range(1, count + 1)]
    assert len(result.images) == len(passes)
    for picture, full, count in zip(result.images, whole.images, passes, strict=False):
        assert (picture.tobytes() == full.tobytes()) == (count == 8)
    said = [f"picture {n} of 3 has {c} of 8 passes." for n, c in enumerate(passes, 1) if c < 8]
    lines = [line for line in result.comments.splitlines() if "passes" in line]
    assert lines == [f"The decode was interrupted: {text}" for text in said]


def test_a_button_that_was_pressed_while_sampling_asks_for_the_picture_as_it_is(
    webui: Any, script: Any, host: MiniatureHost
) -> None:
    p = request(webui, script, ARGUMENTS)
    p.scripts = [script, PressBefore("interrupted")]
    assert webui.answer(p).images[0].mode == "RGBA"
    lines = [text for text, _ in host.reported if text.startswith("decoding")]
    assert lines[-1].endswith("8 of 8")


def test_a_button_that_is_pressed_between_sampling_and_decode(webui: Any, script: Any) -> None:
    """While another script works on the picture, say: it is decoded once and no more."""

    class Press(OtherScript):
        def postprocess_image(self, p: Any, pp: Any, *args: Any) -> None:
            state.interrupted = True

    p = request(webui, script, ARGUMENTS)
    p.scripts = [script, Press()]
    result = webui.answer(p)
    assert result.images[0].mode == "RGBA"
    assert "the picture has 1 of 8 passes" in result.comments


@pytest.mark.parametrize("passes", [1, 2, 4])
def test_an_adaptive_decode_is_ended_as_well(
    generate: Generate, host: MiniatureHost, monkeypatch: pytest.MonkeyPatch, passes: int
) -> None:
    host.settings["layerdiffuse_decode_passes"] = "adaptive"
    shown = press_in_decode(monkeypatch, "interrupted", 1, passes)
    result = generate(ARGUMENTS)
    assert len(shown) == passes
    assert result.images[0].mode == "RGBA"
    assert f"the picture has {passes} of 8 passes" in result.comments
