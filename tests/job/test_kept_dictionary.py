"""The dictionary that the infotext is made of: scripts keep it, copies and jobs within jobs share it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from lib_layerdiffusion.errors import BadSetting
from miniature.webui.host import MiniatureHost
from miniature.webui.processing import Processed, Processing, WebUI
from tests.helpers.jobs import arguments, request
from tests.helpers.scripts import OtherScript

OURS = "layerdiffusion_"

Copy = Callable[[Processing], Processing]


def deep(p: Processing) -> Processing:
    """A deep copy that shares the WebUI, as hosts' copies share the loaded model."""
    return copy.deepcopy(p, {id(p.webui): p.webui, id(p.scripts): p.scripts})


def made_with(p: Processing) -> Processing:
    """A new object that is given what the first one has, as scripts make that work on a part again."""
    return replace(p)


COPIES = pytest.mark.parametrize("copied", [copy.copy, deep, made_with])


class Keeper(OtherScript):
    """Keeps the dictionary at one hook, and writes into it when a picture is finished."""

    def __init__(self, hook: str) -> None:
        setattr(self, hook, self.keep)

    def keep(self, p: Processing, *args: Any) -> None:
        self.kept = p.extra_generation_params

    def postprocess_image(self, p: Processing, pp: Any, *args: Any) -> None:
        self.kept["Kept since"] = "then"


class Nested(OtherScript):
    """Runs one job of its own, with arguments of its own, at one hook."""

    def __init__(self, hook: str, copied: Copy, script: Any, args: list[Any]) -> None:
        self.copied, self.script, self.args = copied, script, args
        self.result: Processed | None = None
        setattr(self, hook, self.run)

    def run(self, p: Processing, *args: Any, **kwargs: Any) -> None:
        nested = self.copied(p)
        nested.scripts, nested.script_args = [self.script], self.args
        self.result = p.webui.process_images(nested)


@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.parametrize("hook", ["before_process", "process"])
def test_what_a_script_writes_into_the_dictionary_it_kept_is_in_the_infotext(
    webui: WebUI, script: Any, hook: str, enabled: bool
) -> None:
    p = request(webui, script, arguments() if enabled else [False])
    p.scripts = [Keeper(hook), script]
    (text,) = webui.answer(p).infotexts
    assert "Kept since: then" in text
    assert (OURS in text) == enabled


def test_one_object_for_several_jobs_keeps_its_dictionary_and_forgets_our_keys(
    webui: WebUI, script: Any
) -> None:
    p = request(webui, script, arguments())
    kept = p.extra_generation_params
    kept["Theirs"] = "stays"
    webui.answer(p)
    assert p.extra_generation_params is kept
    p.script_args = [False]
    (text,) = webui.answer(p).infotexts
    assert p.extra_generation_params is kept
    assert "Theirs: stays" in text
    assert OURS not in text


@COPIES
@pytest.mark.parametrize("hook", ["before_process", "process", "post_sample", "postprocess_image"])
@pytest.mark.parametrize("enabled", [True, False])
def test_a_job_within_a_job_writes_its_keys_into_its_own_infotext(
    webui: WebUI, script: Any, hook: str, copied: Copy, enabled: bool
) -> None:
    """`enabled`: the outer one; the inner one is the other way round."""
    args = [arguments(), [False]]
    outer, inner = args if enabled else reversed(args)
    nested = Nested(hook, copied, script, inner)
    p = request(webui, script, outer)
    p.scripts = [script, nested]
    (text,) = webui.answer(p).infotexts
    assert nested.result is not None
    assert (OURS in text) == enabled
    assert (OURS in nested.result.infotexts[0]) != enabled


@COPIES
def test_a_refused_job_within_a_job_takes_nothing_from_its_infotext(
    webui: WebUI, script: Any, copied: Copy
) -> None:
    class Refused(OtherScript):
        def post_sample(self, p: Processing, *args: Any) -> None:
            inner = copied(p)
            inner.scripts, inner.script_args = [script], arguments("no such method")
            with pytest.raises(BadSetting):
                webui.process_images(inner)
            self.was_refused = True

    p, refused = request(webui, script, arguments()), Refused()
    p.scripts = [script, refused]
    (text,) = webui.answer(p).infotexts
    assert refused.was_refused
    assert f"{OURS}method" in text


@pytest.mark.parametrize("copied", [copy.copy, made_with])
def test_copies_of_a_job_that_never_began_leave_its_dictionary_alone(
    webui: WebUI, script: Any, host: MiniatureHost, copied: Copy
) -> None:
    """As scripts of the list do: the job itself only stands for what they run."""
    p = request(webui, script, arguments())
    host.begin_script(p, "a plot", p.script_args)
    for enabled in (True, False, True):
        cell = copied(p)
        cell.script_args = arguments() if enabled else [False]
        (text,) = webui.answer(cell).infotexts
        assert (OURS in text) == enabled
    assert p.extra_generation_params == {}
