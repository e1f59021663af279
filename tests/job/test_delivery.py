"""A picture that cannot be made: the others are delivered, saved and described, and it is named."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lib_layerdiffusion.errors import GenerationFailed, OutOfMemory
from lib_layerdiffusion.hosts.left_out import LeftOut
from lib_layerdiffusion.transparency import ways
from miniature.webui.host import MiniatureHost
from miniature.webui.processing import Processed, Processing, WebUI
from tests.helpers.buttons import PressBefore
from tests.helpers.jobs import DECODING, arguments, request
from tests.helpers.scripts import OtherScript

TRANSPARENT = DECODING[0]
BATCHES = {"batch size": {"batch_size": 3}, "batch count": {"n_iter": 3}}
FAULTS = {
    "fault": RuntimeError("the card is on fire"),
    "memory": RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    "no numbers": None,
}

Run = Callable[..., Processed]


@pytest.fixture
def run(webui: WebUI, script: Any) -> Run:
    def run(*others: Any, **settings: Any) -> Processed:
        p = request(webui, script, arguments(TRANSPARENT), **settings)
        p.scripts = [script, *others]
        return webui.answer(p)

    return run


def fail_at(monkeypatch: pytest.MonkeyPatch, pictures: set[int], kind: str = "fault") -> None:
    """Have the decode of these pictures, counted from 1, go wrong in every way that is tried."""
    decode, finish = ways.decode_rgba, WebUI._finish
    at_hand = [0]

    def counted(self: WebUI, p: Processing, image: Image.Image) -> Any:
        at_hand[0] = p.iteration * p.batch_size + p.batch_index + 1
        return finish(self, p, image)

    def faulty(*args: Any, **kwargs: Any) -> Any:
        if at_hand[0] not in pictures:
            return decode(*args, **kwargs)
        error = FAULTS[kind]
        if error is not None:
            raise error
        return np.full_like(decode(*args, **kwargs), np.nan)

    monkeypatch.setattr(WebUI, "_finish", counted)
    monkeypatch.setattr(ways, "decode_rgba", faulty)


def _seed(text: str) -> int:
    return int(text.partition("Seed: ")[2].partition(",")[0])


@pytest.mark.parametrize("kind", FAULTS)
@pytest.mark.parametrize("batch", BATCHES)
def test_the_others_are_delivered(run: Run, monkeypatch: pytest.MonkeyPatch, batch: str, kind: str) -> None:
    whole = run(**BATCHES[batch], seed=5)
    fail_at(monkeypatch, {2}, kind)
    result = run(**BATCHES[batch], seed=5)
    assert [i.tobytes() for i in result.images] == [whole.images[n].tobytes() for n in (0, 2)]
    assert [_seed(text) for text in result.infotexts[:2]] == [5, 7]
    assert [_seed(image.info["parameters"]) for image in result.images] == [5, 7]
    assert (result.all_seeds, len(result.all_prompts), result.seed) == ([5, 7], 2, 5)
    sentence = {"fault": "on fire", "memory": "Memory ran out", "no numbers": "not numbers"}[kind]
    assert "Picture 2 of 3 is left out: " in result.comments
    assert sentence in result.comments
    (note,) = [
        n for n in json.loads(result.js())["extra_generation_params"]["layerdiffusion_notes"] if "left" in n
    ]
    assert sentence in note


def test_the_first_one_fails(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_at(monkeypatch, {1})
    result = run(n_iter=3, seed=5)
    assert [_seed(image.info["parameters"]) for image in result.images] == [6, 7]
    assert (result.seed, result.info) == (6, result.infotexts[0])
    assert _seed(result.info) == 6


@pytest.mark.parametrize("pnginfo", [True, False])
@pytest.mark.parametrize("saves", [True, False])
@pytest.mark.parametrize("grid", [True, False])
def test_what_is_saved_and_shown(
    run: Run,
    webui: WebUI,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    saves: bool,
    pnginfo: bool,
    grid: bool,
) -> None:
    webui.outputs, webui.pnginfo, webui.grid = tmp_path / "out" if saves else None, pnginfo, grid
    fail_at(monkeypatch, {2})
    result = run(batch_size=3, seed=5)
    assert len(result.images) == 2 + grid
    assert [image.mode for image in result.images] == ["RGBA"] * (2 + grid)
    assert [_seed(text) for text in result.infotexts[: 2 + grid]] == [5] * grid + [5, 7]
    assert all(("parameters" in image.info) == pnginfo for image in result.images)
    if grid:
        # three places below each other, the second of them empty
        alpha = np.asarray(result.images[0])[..., 3].reshape(3, 64, 64)
        assert alpha[1].max() == 0
        assert min(alpha[0].max(), alpha[2].max()) > 0
    files = sorted(path.name for path in tmp_path.glob("out/*.png"))
    assert files == ((["00000.png", "00001.png"] + ["grid-00000.png"] * grid) if saves else [])
    if saves:
        saved = [Image.open(tmp_path / "out" / name) for name in files[:2]]
        assert [_seed(image.info["parameters"]) for image in saved] == [5, 7]


@pytest.mark.parametrize("pnginfo", [True, False])
@pytest.mark.parametrize("saves", [True, False])
@pytest.mark.parametrize("settings", [{}, {"batch_size": 2}, {"n_iter": 2}], ids=str)
def test_none_is_left(
    run: Run,
    webui: WebUI,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    saves: bool,
    pnginfo: bool,
    settings: Any,
) -> None:
    """The job ends with the sentence, whatever page or program looks at, and nothing is written."""
    webui.outputs, webui.pnginfo, webui.grid = tmp_path / "out" if saves else None, pnginfo, True
    fail_at(monkeypatch, {1, 2})
    with pytest.raises(GenerationFailed, match=r"failed while decoding the transparency .*on fire"):
        run(**settings)
    assert list(tmp_path.glob("out/*.png")) == []
    assert not list(tmp_path.glob("out/*"))


LOOKS: dict[str, Callable[[Processed], Any]] = {
    "page": lambda processed: processed.images + processed.extra_images,
    "joined": lambda processed: ["another", *processed.images],
    "extended": lambda processed: [].extend(processed.images),
    "first": lambda processed: processed.images[0],
    "any": lambda processed: bool(processed.images),
    "count": lambda processed: len(processed.images),
    "walk": lambda processed: list(processed.images),
    "method": lambda processed: processed.images.append(None),
    "told": lambda processed: processed.js(),
}


@pytest.mark.parametrize("look", LOOKS)
def test_whoever_looks_at_a_result_without_pictures_gets_the_sentence(
    webui: WebUI, script: Any, monkeypatch: pytest.MonkeyPatch, look: str
) -> None:
    fail_at(monkeypatch, {1})
    processed = webui.process_images(request(webui, script, arguments(TRANSPARENT)))
    with pytest.raises(GenerationFailed, match="on fire"):
        LOOKS[look](processed)


def test_a_stand_in_can_be_copied() -> None:
    stand_in = copy.copy(LeftOut(GenerationFailed("The card is on fire."), 1, (3, 2)))
    assert stand_in.size == (3, 2)
    with pytest.raises(GenerationFailed, match="on fire"):
        stand_in.save("nowhere")


def test_a_script_that_goes_by_places_finds_each_picture_at_its_own(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tiles of a picture, cells of a table: one that fails must not move the others."""
    whole = run(n_iter=3, seed=5)
    fail_at(monkeypatch, {2})
    result = run(n_iter=3, seed=5, run_by_script=True)
    found = [image.tobytes() for image in result.images]
    assert found[::2] == [image.tobytes() for image in whole.images[::2]]
    assert np.asarray(result.images[1]).max() == 0
    assert [_seed(text) for text in result.infotexts[:3]] == [5, 6, 7]
    assert "Picture 2 of 3 is left out" in result.comments


def test_other_scripts_cannot_make_a_picture_of_one_that_failed(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Enlarge(OtherScript):
        def postprocess_image_after_composite(self, p: Any, pp: Any, *args: Any) -> None:
            pp.image = pp.image.resize((pp.image.width * 2, pp.image.height * 2))

    fail_at(monkeypatch, {2})
    assert [image.size for image in run(Enlarge(), n_iter=3).images] == [(128, 128)] * 2


def test_memory_that_is_there_again_for_the_next_picture(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_at(monkeypatch, {1}, "memory")
    result = run(n_iter=2)
    assert [image.mode for image in result.images] == ["RGBA"]
    fail_at(monkeypatch, {1, 2}, "memory")
    with pytest.raises(OutOfMemory):
        run(n_iter=2)


def test_the_preview_of_one_that_failed_is_not_shown(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_at(monkeypatch, {2})
    assert len(run(n_iter=3).extra_images) == 2


def test_a_model_that_cannot_be_patched_is_no_ordinary_picture_after_skip(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sampling ends before it would have raised, so the delivery has to."""

    def broken(*args: Any) -> int:
        raise RuntimeError("no room")

    monkeypatch.setattr(MiniatureHost, "patch_weights", broken)
    with pytest.raises(GenerationFailed, match=r"failed while patching the model .*no room"):
        run(PressBefore("skipped"))
