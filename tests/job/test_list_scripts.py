"""Scripts that make one result of several jobs: its transparency goes along, or a sentence comes first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lib_layerdiffusion.errors import UnsupportedMethod
from lib_layerdiffusion.hosts import forge_scripts
from lib_layerdiffusion.methods import KEEP, METHODS, SD15
from lib_layerdiffusion.pictures.finishing import Steps, finish
from miniature.nets.random_weights import BaseModel
from miniature.webui import images
from miniature.webui.host import MiniatureHost
from miniature.webui.processing import Processed, Processing, WebUI
from miniature.webui.script_runner import ScriptRunner
from tests.helpers import list_scripts
from tests.helpers.fresh_networks import fresh
from tests.helpers.jobs import CONDITIONED, DECODING, arguments, picture, request
from tests.helpers.list_scripts import ListScript

TRANSPARENT = DECODING[0]
SCENE = next(method for method in METHODS if method.family is SD15 and method.frames > 1)
SIZE = 64
Run = Callable[..., Processed]


@pytest.fixture
def run(webui: WebUI, script: Any, host: MiniatureHost, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a script of the list over a job of ours; `args` None is the extension switched off."""
    for owner, name in (
        *((images, name) for name in ("flatten", "split_grid", "combine_grid")),
        (ScriptRunner, "run"),
    ):
        monkeypatch.setattr(owner, name, getattr(owner, name))
    forge_scripts.install(images, ScriptRunner, host.begin_script)
    script.args_from, script.args_to = 1, 1 + len(arguments())
    monkeypatch.setattr(script, "title", lambda: forge_scripts.OUR_TITLE)

    def run(chosen: ListScript, args: list[Any] | None, init: Any = None, **settings: Any) -> Processed:
        if init is not None:
            settings["init_images"] = [Image.fromarray(init) if isinstance(init, np.ndarray) else init]
        p = request(webui, script, args, **{"width": SIZE, "height": SIZE, **settings})
        result: Processed = ScriptRunner([chosen], [script]).run(p, 1, *p.script_args)
        return result

    return run


def test_what_is_made_in_tiles_is_finished_as_a_whole(run: Run) -> None:
    init, finishing = picture(width=SIZE, height=SIZE), {"clean_veil": 120, "decontaminate": 1.0}
    (plain,) = run(list_scripts.SdUpscale(), arguments(TRANSPARENT), init).images
    (result,) = run(list_scripts.SdUpscale(), arguments(TRANSPARENT, **finishing, trim=True), init).images
    expected = finish(np.asarray(plain), Steps(veil=120, decontaminate=1, trim=0))
    assert not np.array_equal(expected, np.asarray(plain))
    assert np.array_equal(np.asarray(result), expected)


@pytest.mark.parametrize("chosen", [list_scripts.UltimateUpscale(), list_scripts.Loopback()])
def test_what_a_script_goes_on_from_is_not_cut(run: Run, chosen: ListScript) -> None:
    init = picture(width=SIZE, height=SIZE)
    run(chosen, arguments(TRANSPARENT, clean_veil=120, trim=True), init)
    assert {made.size for made in chosen.made} == {given.size for given in chosen.given}


def glass() -> np.ndarray:
    """A picture of one colour, half transparent in a disc and clear around it."""
    y, x = np.mgrid[:SIZE, :SIZE]
    rgba = np.zeros((SIZE, SIZE, 4), np.uint8)
    rgba[...] = 255, 200, 0, 128
    rgba[np.hypot(x - 32, y - 32) > 24] = 0
    return rgba


def enlarged_alpha(init: np.ndarray) -> np.ndarray:
    alpha = Image.fromarray(init).getchannel("A")
    return np.asarray(alpha.resize((2 * SIZE, 2 * SIZE), Image.Resampling.LANCZOS)).astype(int)


def test_sd_upscale_makes_a_transparent_picture(run: Run) -> None:
    chosen, init = list_scripts.SdUpscale(), picture(width=SIZE, height=SIZE)
    (result,) = run(chosen, arguments(TRANSPARENT), init).images
    assert (result.mode, result.size) == ("RGBA", (2 * SIZE, 2 * SIZE))
    # each tile began with its part of the enlarged alpha
    alpha = enlarged_alpha(init)
    corners = (0, 32, 64)
    places = [(top, left) for top in corners for left in corners]
    assert len(chosen.given) == len(chosen.made) == len(places)
    for given, (top, left) in zip(chosen.given, places, strict=True):
        assert given.mode == "RGBA"
        part = alpha[top : top + SIZE, left : left + SIZE]
        assert np.array_equal(np.asarray(given.getchannel("A")), part)
    # where no other tile lies over it, the result is the tile's own decode
    last = np.asarray(chosen.made[-1])[16:, 16:]
    assert np.array_equal(np.asarray(result)[80:, 80:], last)
    first = np.asarray(chosen.made[0])
    assert np.array_equal(np.asarray(result)[:32, :32], first[:32, :32])


@pytest.mark.parametrize("chosen", [list_scripts.SdUpscale(), list_scripts.UltimateUpscale()])
@pytest.mark.parametrize("follow", [0.0, 1.0])
def test_transparency_is_kept_in_tiles(run: Run, chosen: ListScript, follow: float) -> None:
    """Some of them are opaque, or empty, as the whole picture may not be."""
    init = picture(width=SIZE, height=SIZE)
    init[..., 3] = 255 * (np.arange(SIZE) < SIZE // 2)
    (result,) = run(chosen, arguments(KEEP, follow_new_edges=follow), init).images
    assert (result.mode, result.size) == ("RGBA", (2 * SIZE, 2 * SIZE))
    away = np.abs(np.asarray(result)[..., 3] - enlarged_alpha(init))
    assert away.max() <= 1 if follow == 0 else away.mean() < 3


def test_tiles_have_the_pictures_own_colours(run: Run) -> None:
    """Not those on the background that the host lays it on."""
    chosen = list_scripts.SdUpscale()
    run(chosen, arguments(TRANSPARENT), glass())
    for given in chosen.given:
        pixels = np.asarray(given).astype(int)
        shown = pixels[pixels[..., 3] > 8]
        assert np.abs(shown[:, :3] - (255, 200, 0)).max(initial=0) <= 2


@pytest.mark.parametrize("settings", [{}, {"batch_size": 2}, {"batch_size": 9}], ids=str)
def test_sd_upscale_in_batches(run: Run, settings: dict[str, Any]) -> None:
    chosen = list_scripts.SdUpscale()
    (result,) = run(chosen, arguments(TRANSPARENT), picture(width=SIZE, height=SIZE), **settings).images
    assert result.mode == "RGBA"
    assert all(made.mode == "RGBA" for made in chosen.made)


def test_an_opaque_picture_becomes_what_its_tiles_are(run: Run) -> None:
    init = picture(width=SIZE, height=SIZE)[..., :3]
    chosen = list_scripts.SdUpscale()
    (result,) = run(chosen, arguments(TRANSPARENT), init).images
    assert result.mode == "RGBA"
    assert np.array_equal(np.asarray(result)[:32, :32], np.asarray(chosen.made[0])[:32, :32])


@pytest.mark.parametrize("chosen", [list_scripts.SdUpscale, list_scripts.PoorMansOutpainting])
def test_without_layerdiffuse_the_host_does_what_it_did(run: Run, chosen: type[ListScript]) -> None:
    init = picture(width=SIZE, height=SIZE)
    script = chosen()
    (result,) = run(script, None, init).images
    assert result.mode == "RGB"
    assert {given.mode for given in script.given} == {"RGB"}
    white = images.flatten(Image.fromarray(init), "#ffffff")
    assert np.asarray(white)[0, 0].tolist() == [255, 255, 255]


def test_tiles_have_no_previews_and_are_no_last_result(run: Run, script: Any) -> None:
    """A host's web API puts previews among the pictures, where the script would take them for tiles."""
    host = script.handlers.host
    host.api_answers_extra_images = False
    kept: list[Any] = []
    script.handlers.latest.keep = lambda *given: kept.append(given)
    chosen = list_scripts.SdUpscale()
    result = run(chosen, arguments(TRANSPARENT), picture(width=SIZE, height=SIZE), is_api=True)
    assert len(chosen.made) == 9
    assert result.extra_images == kept == []
    run(list_scripts.Loopback(), arguments(TRANSPARENT), picture(width=SIZE, height=SIZE))
    assert len(kept) == 2


def test_ultimate_upscale_keeps_the_transparency(run: Run) -> None:
    init, chosen = glass(), list_scripts.UltimateUpscale()
    (result,) = run(chosen, arguments(TRANSPARENT), init, denoising_strength=0.5).images
    assert (result.mode, result.size) == ("RGBA", (2 * SIZE, 2 * SIZE))
    assert {given.mode for given in chosen.given} == {"RGBA"}
    # what the first job is given is all there is of the picture so far
    assert np.array_equal(np.asarray(chosen.given[0].getchannel("A")), enlarged_alpha(init))
    for number, given in enumerate(chosen.given[1:]):
        assert given.tobytes() == chosen.made[number].tobytes()


def test_poor_mans_outpainting_of_an_opaque_picture(run: Run) -> None:
    init = picture(width=SIZE, height=SIZE)[..., :3]
    chosen = list_scripts.PoorMansOutpainting()
    (result,) = run(chosen, arguments(TRANSPARENT), init).images
    assert result.mode == "RGBA"
    assert (np.asarray(result)[:, :32] == np.dstack([init, np.full((SIZE, SIZE), 255)])[:, :32]).all()
    assert np.array_equal(np.asarray(result)[:, -32:], np.asarray(chosen.made[-1])[:, -32:])


@pytest.mark.parametrize(
    ("chosen", "opaque"),
    [
        (list_scripts.PoorMansOutpainting, False),
        (list_scripts.OutpaintingMk2, False),
        (list_scripts.OutpaintingMk2, True),
    ],
)
def test_what_would_lose_the_transparency_is_refused_before_sampling(
    run: Run, chosen: type[ListScript], opaque: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Processing, "sample", lambda *given: pytest.fail("sampled"))
    script, init = chosen(), picture(width=SIZE, height=SIZE)
    with pytest.raises(UnsupportedMethod, match="loses the transparency of pictures"):
        run(script, arguments(TRANSPARENT), init[..., :3] if opaque else init)
    assert script.made == []


def test_scenes_are_not_made_in_tiles(
    run: Run, monkeypatch: pytest.MonkeyPatch, base15: BaseModel, webui: WebUI, host: MiniatureHost
) -> None:
    monkeypatch.setattr(Processing, "sample", lambda *given: pytest.fail("sampled"))
    with pytest.raises(UnsupportedMethod, match="would make a whole scene of each"):
        run(list_scripts.SdUpscale(), arguments(CONDITIONED[0]), picture(width=SIZE, height=SIZE))
    host.family, webui.base = "sd15", fresh(base15)
    with pytest.raises(UnsupportedMethod, match="would make a whole scene of each"):
        run(list_scripts.SdUpscale(), arguments(SCENE), picture(width=SIZE, height=SIZE))


def test_loopback_starts_from_the_transparent_picture(run: Run) -> None:
    chosen = list_scripts.Loopback()
    result = run(chosen, arguments(TRANSPARENT), picture(width=SIZE, height=SIZE))
    assert result.images[0].mode == "RGBA"
    assert chosen.given[1].tobytes() == chosen.made[0].tobytes()


@pytest.mark.parametrize("mode", ["LA", "P", "PA"])
def test_transparent_pictures_of_other_modes_are_not_taken_for_lost(run: Run, mode: str) -> None:
    rgba = Image.fromarray(picture(width=SIZE, height=SIZE))
    init = rgba.convert(mode) if mode != "P" else rgba.convert("RGB").convert("P")
    if mode == "P":
        init.info["transparency"] = 0
    result = run(list_scripts.Loopback(), arguments(TRANSPARENT), init)
    assert result.images[0].mode == "RGBA"


def test_prompt_matrix(run: Run) -> None:
    result = run(list_scripts.PromptMatrix(), arguments(TRANSPARENT))
    assert [image.mode for image in result.images] == ["RGBA"] * 3


def test_nothing_is_followed_after_a_script_that_failed(run: Run) -> None:
    class Failing(list_scripts.SdUpscale):
        def job(self, p: Any) -> Processed:
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        run(Failing(), arguments(TRANSPARENT), picture(width=SIZE, height=SIZE))
    assert forge_scripts.current() is None
    white = images.flatten(Image.fromarray(glass()), "#ffffff")
    assert np.asarray(white)[0, 0].tolist() == [255, 255, 255]
