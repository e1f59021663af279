"""The Extras tab: transparency goes through every step, and the picture is finished last."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lib_layerdiffusion.errors import BadSetting, UnsupportedMethod
from lib_layerdiffusion.hosts import webui_extras
from lib_layerdiffusion.hosts.forge_saving import is_ours
from lib_layerdiffusion.job import extras
from lib_layerdiffusion.pictures.atlas import read_atlas
from lib_layerdiffusion.pictures.finishing import Steps, finish
from tests.helpers.drawn import coloured, disc

PICTURE = coloured(disc(96, 30.5))
PICTURE[PICTURE[..., 3] == 0, :3] = (0, 255, 0)
ON = {"enabled": True}

Step = Callable[[Any], None]


def run(rgba: np.ndarray | Image.Image, values: dict[str, Any], *others: Step) -> Any:
    """What a host does with one picture: our first pass, the other steps, and ours."""
    picture = rgba if isinstance(rgba, Image.Image) else Image.fromarray(rgba)
    pp = SimpleNamespace(image=picture, info={})
    extras.begin(pp, values)
    for other in others:
        other(pp)
    extras.end(pp)
    return pp


def upscale(pp: Any) -> None:
    """As hosts' upscalers: without regard to transparency."""
    opaque = pp.image.convert("RGB")
    pp.image = opaque.resize((2 * opaque.width, 2 * opaque.height), Image.Resampling.BICUBIC)


def upscale_and_crop(pp: Any) -> None:
    upscale(pp)
    cropped = Image.new("RGB", (192, 100))
    cropped.paste(pp.image, (96 - pp.image.width // 2, 50 - pp.image.height // 2))
    pp.image, pp.info["Postprocess crop to"] = cropped, "192x100"


def test_off_it_touches_nothing() -> None:
    picture = Image.fromarray(PICTURE)
    for values in ({}, {"enabled": None, "trim": None}, {"enabled": False, "trim": True}):
        pp = run(picture, values)
        assert pp.image is picture
        assert pp.info == {}


def test_on_without_a_step_the_bytes_stay() -> None:
    assert np.array_equal(np.asarray(run(PICTURE, ON).image), PICTURE)


def test_a_picture_is_finished_and_kept_transparent() -> None:
    pp = run(PICTURE, {**ON, "trim": True, "trim_margin": 3, "outline": "2,#ffffff"})
    expected = finish(PICTURE, extras.steps_of({"trim": True, "trim_margin": 3, "outline": "2,#ffffff"}))
    assert np.array_equal(np.asarray(pp.image), expected)
    assert is_ours(pp.image)
    assert pp.info == {"LayerDiffuse Finish": "trim True, trim_margin 3, outline 2,#ffffff"}


def test_an_upscaler_keeps_the_transparency_and_sees_no_hidden_colour() -> None:
    pp = run(PICTURE, ON, upscale)
    result = np.asarray(pp.image)
    assert result.shape == (192, 192, 4)
    alpha = Image.fromarray(PICTURE).getchannel("A").resize((192, 192), Image.Resampling.LANCZOS)
    assert np.array_equal(result[..., 3], np.asarray(alpha))
    seen = result[result[..., 3] > 0, :3].astype(int)
    # nothing of the green under the transparency
    own = PICTURE[PICTURE[..., 3] > 0, :3].astype(int)
    assert (seen[:, 1] - seen[:, 0]).max() <= (own[:, 1] - own[:, 0]).max() + 4


def test_a_crop_cuts_the_transparency_alike() -> None:
    result = np.asarray(run(PICTURE, ON, upscale_and_crop).image)
    whole = np.asarray(run(PICTURE, ON, upscale).image)
    assert np.array_equal(result, whole[46:146])


def test_a_step_that_cuts_otherwise_is_named() -> None:
    def cut(pp: Any) -> None:
        pp.image = pp.image.crop((0, 0, 96, 40))

    with pytest.raises(UnsupportedMethod, match="from 96x96 to 96x40 pixels"):
        run(PICTURE, ON, cut)


def test_a_picture_without_transparency_stays_and_that_is_said() -> None:
    opaque = Image.new("RGB", (8, 8), (1, 2, 3))
    pp = run(opaque, {**ON, "trim": True})
    assert pp.image is opaque
    assert pp.info == {"LayerDiffuse Finish": "the picture has no transparency"}


def asked(body: Any) -> Any:
    """What a request of the web API with this body makes of the picture."""
    found: list[Any] = []

    async def endpoint(scope: Any, receive: Any, send: Any) -> None:
        message = await receive()
        assert json.loads(message["body"]) == body
        found.append(run(PICTURE, {"enabled": None, "trim": None}))

    route = SimpleNamespace(path=webui_extras.PATHS[0], app=endpoint)
    webui_extras.install(SimpleNamespace(routes=[route]), extras.atlas)

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}

    # In a thread of its own: a test in a browser may have left a loop in this one.
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, route.app({}, receive, None)).result()
    assert webui_extras.asked() is None
    return found[0]


@pytest.fixture(autouse=True)
def postprocessing(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The host's modules that the tab's functions live in."""
    package, postprocessing, shared = (
        ModuleType(f"modules{name}") for name in ("", ".postprocessing", ".shared")
    )

    def run_postprocessing(mode: Any, image: Any, folder: Any, *rest: Any, **kwargs: Any) -> Any:
        outputs = []
        for name, one in folder:
            shared.state.textinfo = name
            outputs.append(run(one, {**ON, "atlas": True}).image)
        return outputs, "done", ""

    postprocessing.run_postprocessing = run_postprocessing  # type: ignore[attr-defined]
    shared.state = SimpleNamespace(textinfo=None)  # type: ignore[attr-defined]
    package.postprocessing, package.shared = postprocessing, shared  # type: ignore[attr-defined]
    for module in (package, postprocessing, shared):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    package.images = ModuleType("modules.images")  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "modules.images", package.images)
    return postprocessing


def test_the_web_api_takes_the_same_values_by_name() -> None:
    pp = asked({"image": "x", "layerdiffuse": {"Trim": True, "trim_margin": 1}})
    assert np.array_equal(np.asarray(pp.image), finish(PICTURE, Steps(trim=1)))
    assert asked({"image": "x"}).info == {}


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (7, '"layerdiffuse" of the request is "7"; it must be an object with any of: decontaminate'),
        ({"trimm": 1}, 'has no setting "trimm"; perhaps trim is meant'),
        ({"canvas": "big"}, 'Canvas is "big"; it must be WIDTHxHEIGHT'),
    ],
)
def test_what_the_web_api_cannot_mean_gets_a_sentence(given: Any, sentence: str) -> None:
    with pytest.raises(BadSetting) as caught:
        asked({"image": "x", "layerdiffuse": given})
    assert sentence in str(caught.value)
    assert caught.value.status_code == 422


def test_a_batch_becomes_an_atlas_too(postprocessing: Any) -> None:
    webui_extras.install(SimpleNamespace(routes=[]), extras.atlas)
    clear = np.where(PICTURE[..., 3:] > 0, PICTURE, 0).astype(np.uint8)
    given = [("a/bird.png", clear), ("b/bird.png", clear[::-1].copy())]
    outputs, info, _ = postprocessing.run_postprocessing(1, None, given, "", "", save_output=False)
    assert len(outputs) == 3
    description = json.loads(info.partition("<p>")[2].removesuffix("</p>"))
    back = read_atlas(np.asarray(outputs[2]), description)
    assert list(back) == ["bird.png", "bird-2.png"]
    assert np.array_equal(back["bird-2.png"], clear[::-1])
