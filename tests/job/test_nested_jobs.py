"""Other scripts that run jobs of their own over copies of ours, at any hook."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from PIL import Image

from lib_layerdiffusion.errors import BadSetting, GenerationFailed, LayerDiffuseError
from miniature.webui.processing import Processed, Processing, WebUI
from tests.helpers.jobs import DECODING, arguments, picture, request
from tests.helpers.scripts import OtherScript

TRANSPARENT = DECODING[0]
INIT = Image.fromarray(picture(width=64, height=64))
IMG2IMG = {"init_images": [INIT], "denoising_strength": 0.5}

Copy = Callable[[Processing], Processing]


class Nested(OtherScript):
    """Runs a job over a copy of `p` at one hook, with the scripts it is given, and keeps what came of it."""

    def __init__(self, hook: str, scripts: Sequence[Any] = (), copied: Copy = copy.copy) -> None:
        self.scripts, self.copied = scripts, copied
        self.results: list[Processed | Exception] = []
        setattr(self, hook, self.run)

    def run(self, p: Processing, *args: Any, **kwargs: Any) -> None:
        nested = self.copied(p)
        nested.scripts, nested.n_iter = self.scripts, 1
        try:
            self.results.append(p.webui.process_images(nested))
        except LayerDiffuseError as error:
            self.results.append(error)


def deep(p: Processing) -> Processing:
    """A deep copy that shares the WebUI, as hosts' copies share the loaded model."""
    return copy.deepcopy(p, {id(p.webui): p.webui, id(p.scripts): p.scripts})


@pytest.fixture
def run(webui: WebUI, script: Any) -> Callable[..., Processed]:
    def run(*after: Any, **settings: Any) -> Processed:
        p = request(webui, script, arguments(TRANSPARENT), **settings)
        p.scripts = [script, *after]
        return webui.answer(p)

    return run


HOOKS = (
    *("process", "post_sample", "postprocess_batch"),
    *("postprocess_image", "postprocess_image_after_composite", "postprocess"),
)


@pytest.mark.parametrize("ours_too", [False, True])
@pytest.mark.parametrize("hook", HOOKS)
def test_a_job_over_a_copy_changes_nothing_in_ours(
    run: Callable[..., Processed], script: Any, hook: str, ours_too: bool
) -> None:
    alone = run(**IMG2IMG).images[0]
    nested = Nested(hook, [script] if ours_too else [])
    assert run(nested, **IMG2IMG).images[0].tobytes() == alone.tobytes()
    (result,) = nested.results
    assert isinstance(result, Processed)
    (inner,) = result.images
    assert inner.mode == ("RGBA" if ours_too else "RGB")
    if ours_too and hook == "process":
        assert inner.tobytes() == alone.tobytes()


@pytest.mark.parametrize("copied", [copy.copy, deep])
def test_the_alpha_of_an_init_picture_is_used_after_any_kind_of_copy(
    run: Callable[..., Processed], copied: Copy
) -> None:
    alone = run(**IMG2IMG).images[0]
    opaque = INIT.convert("RGB")
    assert run(Nested("process", copied=copied), **IMG2IMG).images[0].tobytes() == alone.tobytes()
    assert alone.tobytes() != run(init_images=[opaque], denoising_strength=0.5).images[0].tobytes()


@pytest.mark.parametrize("copied", [copy.copy, deep])
@pytest.mark.parametrize("ours_too", [False, True])
def test_a_job_that_is_to_be_refused_is_refused_whatever_its_copies_did(
    webui: WebUI, script: Any, ours_too: bool, copied: Copy
) -> None:
    nested = Nested("process", [script] if ours_too else [], copied)
    p = request(webui, script, arguments("no such method"))
    p.scripts = [script, nested]
    with pytest.raises(BadSetting, match="no such method"):
        webui.answer(p)
    (inner,) = nested.results
    if ours_too:
        assert isinstance(inner, BadSetting)
    else:
        assert isinstance(inner, Processed)
        assert inner.images[0].mode == "RGB"


def test_a_refused_job_can_be_run_again_with_better_settings(webui: WebUI, script: Any) -> None:
    p = request(webui, script, arguments("no such method"))
    with pytest.raises(BadSetting):
        webui.answer(p)
    p.script_args = arguments(TRANSPARENT)
    assert webui.answer(p).images[0].mode == "RGBA"
    p.script_args = [False]
    assert webui.answer(p).images[0].mode == "RGB"


def test_one_object_for_several_jobs_as_loopback_does(webui: WebUI, script: Any) -> None:
    p = request(webui, script, arguments(TRANSPARENT), **IMG2IMG)
    first = webui.answer(p).images[0]
    p.init_images = [first]
    second = webui.answer(p).images[0]
    fresh = webui.answer(
        request(webui, script, arguments(TRANSPARENT), **{**IMG2IMG, "init_images": [first]})
    )
    assert second.tobytes() == fresh.images[0].tobytes()
    assert first.tobytes() != second.tobytes()


def test_a_job_that_was_prepared_and_never_begun_leaves_the_next_alone(webui: WebUI, script: Any) -> None:
    """Without scripts, over the very object that a broken-off job left."""
    p = request(webui, script, arguments(TRANSPARENT), **IMG2IMG)
    p.expand()
    script.process(p, *p.script_args)
    p.script_args = [False]
    script.process(p, False)
    p.scripts = []
    assert webui.process_images(p).images[0].mode == "RGB"
    assert p.init_images == [INIT]


def test_a_nested_job_while_the_init_picture_is_encoded_is_noticed(run: Callable[..., Processed]) -> None:
    """It leaves the host's own VAE in the place of the one that was prepared."""
    with pytest.raises(GenerationFailed, match="while the picture was encoded"):
        run(Nested("before_process_init_images"), **IMG2IMG)
    assert run(**IMG2IMG).images[0].mode == "RGBA"


def test_a_deep_copy_leaves_alone_what_cannot_be_copied(run: Callable[..., Processed], host: Any) -> None:
    """Hosts hold locks and loaded models, and a copied job has no use for another of them."""
    host.lock = threading.Lock()
    nested = Nested("post_sample", copied=deep)
    assert run(nested).images[0].mode == "RGBA"
    (result,) = nested.results
    assert isinstance(result, Processed)
