"""The files that a job leaves, and the web API's answers, where the image format that is set has no alpha."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lib_layerdiffusion.methods import Method
from miniature.webui.api import SCRIPT, answer_with
from miniature.webui.host import MiniatureHost
from miniature.webui.processing import WebUI
from miniature.webui.script import load_script
from tests.helpers.jobs import DECODING, arguments, request
from tests.helpers.sd15_jobs import BG2FG, FG2BG, JOINT

FAST = {"layerdiffuse_decode_passes": 1}
FIELDS = {"prompt": "a cup made of glass", "steps": 2, "width": 64, "height": 64, "seed": 5}
BATCHES = ({"batch_size": 2}, {"n_iter": 2})


def from_page(webui: WebUI, script: Any, args: list[Any], **settings: Any) -> list[Image.Image]:
    """The pictures and then the previews of a job of the page."""
    script.handlers.host.settings = FAST
    result = webui.answer(request(webui, script, args, **{**FIELDS, **settings}))
    return [*result.images, *result.extra_images]


def from_api(webui: WebUI, script: Any, args: list[Any], **settings: Any) -> list[Image.Image]:
    """The same of a request to the web API."""
    sent = {**FIELDS, **settings, "override_settings": FAST, "save_images": True}
    sent["alwayson_scripts"] = {SCRIPT: {"args": args}}
    answer = answer_with(lambda request: (webui, script))("/sdapi/v1/txt2img", sent)
    return [Image.open(io.BytesIO(base64.b64decode(text))) for text in answer["images"]]


Run = Callable[..., list[Image.Image]]
WAYS = pytest.mark.parametrize("run", [from_page, from_api])


def opened(file: Path) -> Image.Image:
    with Image.open(file) as picture:
        picture.load()
        return picture


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def equal(found: Sequence[Image.Image], expected: Sequence[Image.Image]) -> bool:
    """True where modes, sizes and all values are the same, the colours under alpha 0 too."""
    return [(one.mode, one.size, one.tobytes()) for one in found] == [
        (one.mode, one.size, one.tobytes()) for one in expected
    ]


@WAYS
@pytest.mark.parametrize("batch", BATCHES, ids=str)
def test_files_have_the_pixels_of_the_pictures(
    webui: WebUI, script: Any, tmp_path: Path, run: Run, batch: Any
) -> None:
    """One file for each picture, none for its preview."""
    webui.outputs, webui.samples_format = tmp_path, "jpg"
    *pictures, _, _ = run(webui, script, arguments(DECODING[0]), **batch)
    assert names(tmp_path) == ["00000.png", "00001.png"]
    assert [picture.mode for picture in pictures] == ["RGBA", "RGBA"]
    assert equal([opened(tmp_path / name) for name in names(tmp_path)], pictures)


def test_ordinary_pictures_are_saved_and_sent_as_is_set(webui: WebUI, script: Any, tmp_path: Path) -> None:
    webui.outputs, webui.samples_format = tmp_path, "jpg"
    (picture,) = from_api(webui, script, [False])
    assert (picture.format, picture.mode) == ("JPEG", "RGB")
    assert names(tmp_path) == ["00000.jpg"]


@pytest.mark.parametrize("samples_format", ["jpg", "avif"])
def test_every_picture_and_preview_is_sent(webui: WebUI, script: Any, samples_format: str) -> None:
    """Also where nothing is written into pictures that would tell whose they are."""
    args = arguments(DECODING[0])
    *expected, first, second = from_page(webui, script, args, batch_size=2)
    webui.samples_format, webui.pnginfo = samples_format, False
    *pictures, one, other = from_api(webui, script, args, batch_size=2)
    assert equal(pictures, expected)
    for sent, made in ((one, first), (other, second)):
        # previews are opaque, and may be JPEG where that is set
        assert sent.mode == "RGB"
        assert np.abs(np.asarray(sent, int) - np.asarray(made, int)).mean() < 20


@WAYS
def test_files_of_a_scene_end_with_their_layer(
    webui15: WebUI, host15: MiniatureHost, tmp_path: Path, run: Run
) -> None:
    webui15.outputs, webui15.samples_format = tmp_path, "jpg"
    pictures = run(webui15, load_script(lambda: host15), arguments(JOINT), batch_size=3, steps=1)
    assert names(tmp_path) == [
        "00000-foreground.png", "00000.psd", "00001-background.jpg", "00002-blended.jpg"
    ]  # fmt: skip
    assert equal([opened(tmp_path / "00000-foreground.png")], pictures[:1])


@pytest.mark.parametrize(
    ("method", "layers"),
    [
        (JOINT, ["background", "blended", "foreground"]),
        (FG2BG, ["background", "blended", "foreground"]),
        (BG2FG, ["background", "blended", "foreground"]),
    ],
    ids=["joint", "fg2bg", "bg2fg"],
)
def test_scenes_have_a_layered_file_beside_their_pictures(
    webui15: WebUI, host15: MiniatureHost, tmp_path: Path, method: Method, layers: list[str]
) -> None:
    webui15.outputs = tmp_path
    script = load_script(lambda: host15)
    webui15.answer(request(webui15, script, arguments(method), **FIELDS, n_iter=2))
    found = sorted(path.name for path in tmp_path.glob("*.psd"))
    assert found == ["00000.psd", f"{method.frames:05}.psd"]
    with Image.open(tmp_path / found[1]) as file:
        assert file.size == (64, 64)
        assert [layer[0] for layer in file.layers] == layers


def test_no_layered_file_for_a_picture_alone(webui: WebUI, script: Any, tmp_path: Path) -> None:
    webui.outputs = tmp_path
    from_page(webui, script, arguments(DECODING[0]))
    assert names(tmp_path) == ["00000.png"]
