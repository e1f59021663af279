"""The web API over the loopback: every form of arguments, and what is refused."""

from __future__ import annotations

import base64
import io
import json
import urllib.request
from collections.abc import Mapping
from typing import Any
from urllib.error import HTTPError

import numpy as np
import pytest
from PIL import Image

from lib_layerdiffusion.methods import DEFAULT_METHOD
from lib_layerdiffusion.request.settings import ARGUMENTS
from miniature.webui.api import encoded
from tests.helpers.jobs import picture

FROM_FOREGROUND = "(SDXL) From Foreground to Blending"


def post(server: str, args: Any, path: str = "txt2img", **fields: Any) -> tuple[int, dict[str, Any]]:
    request = {"prompt": "a cup", "alwayson_scripts": {"LayerDiffuse": {"args": args}}, **fields}
    body = json.dumps(request).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(f"{server}/sdapi/v1/{path}", body)) as answer:
            return answer.status, json.load(answer)
    except HTTPError as error:
        return error.code, json.load(error)


def images(answer: Mapping[str, Any]) -> list[Image.Image]:
    return [Image.open(io.BytesIO(base64.b64decode(text))) for text in answer["images"]]


def base64_of(pixels: np.ndarray) -> str:
    return encoded(Image.fromarray(pixels))


def test_every_form_of_arguments_gives_the_same_picture(server: str) -> None:
    foreground = base64_of(picture())
    values = {**dict(ARGUMENTS), "enabled": True, "method": FROM_FOREGROUND, "fg_image": foreground}
    forms = [
        list(values.values()),
        list(values.values())[:5],
        [{"method": FROM_FOREGROUND, "fg_image": foreground}],
        {"method": FROM_FOREGROUND, "fg_image": foreground},
        {"method": "From Foreground to Blending", "fg_image": f"data:image/png;base64,{foreground}"},
    ]
    answers = [post(server, form) for form in forms]
    assert [status for status, _ in answers] == [200] * len(forms)
    assert len({images(answer)[0].tobytes() for _, answer in answers}) == 1


def test_defaults(server: str) -> None:
    status, answer = post(server, [True])
    assert status == 200
    rgba, preview = images(answer)
    assert (rgba.mode, preview.mode) == ("RGBA", "RGB")
    assert rgba.getchannel("A").getextrema()[0] < 255
    assert DEFAULT_METHOD.label in rgba.info["parameters"]
    assert images(post(server, [])[1])[0].mode == "RGB"


def test_img2img_takes_transparent_pictures(server: str) -> None:
    init = base64_of(picture(width=64, height=64))
    status, answer = post(server, [True], "img2img", init_images=[init], denoising_strength=0.5)
    assert status == 200
    assert images(answer)[0].mode == "RGBA"


def test_settings_can_be_overridden_for_one_request(server: str) -> None:
    override = {"layerdiffuse_preview": False, "layerdiffuse_decode_passes": 1}
    status, answer = post(server, [True], override_settings=override)
    assert status == 200
    (rgba,) = images(answer)
    assert "layerdiffusion_decode_passes: 1" in rgba.info["parameters"]
    assert len(images(post(server, [True])[1])) == 2


@pytest.mark.parametrize(
    ("args", "detail"),
    [
        ({"wieght": 1}, 'no setting "wieght"; perhaps weight is meant. It has: enabled, method, weight'),
        ({"method": "Glass"}, 'LayerDiffuse has no method "Glass"'),
        ({"weight": 2.5}, 'Weight (weight) of LayerDiffuse is "2.5"; it must be a number from 0 to 2.'),
        ({"ending_step": "late"}, 'Stop At (ending_step) of LayerDiffuse is "late"'),
        ({"resize_mode": 1}, 'Resize Mode (resize_mode) of LayerDiffuse is "1"; it must be one of'),
        ({"enabled": "maybe"}, 'Enabled (enabled) of LayerDiffuse is "maybe"; it must be true or false.'),
        ({"fg_additional_prompt": ["a"]}, "fg_additional_prompt of LayerDiffuse"),
        ({"method": FROM_FOREGROUND}, "needs a foreground picture"),
        (
            {"method": FROM_FOREGROUND, "fg_image": "foreground.png"},
            "The foreground picture is text that is not",
        ),
        ({"method": FROM_FOREGROUND, "fg_image": "aGVsbG8="}, "The foreground picture is not a picture file"),
        ([True, None], 'Method (method) of LayerDiffuse is "None"; it must be the name of one: (SD1.5)'),
    ],
)
def test_what_cannot_work_is_refused_by_name(server: str, args: Any, detail: str) -> None:
    status, answer = post(server, args)
    assert status == 422
    assert answer["detail"].startswith(detail) or detail in answer["detail"]
    assert answer["detail"].endswith(".")
    assert "images" not in answer


def test_a_bad_override_is_refused_by_name(server: str) -> None:
    status, answer = post(server, [True], override_settings={"layerdiffuse_decode_passes": 3})
    assert status == 422
    assert 'layerdiffuse_decode_passes of LayerDiffuse is "3"' in answer["detail"]


def test_labels_tell_what_each_value_is(script: Any) -> None:
    gradio = pytest.importorskip("gradio")
    with gradio.Blocks(analytics_enabled=False):
        controls = script.ui(False)
    assert [control.label for control in controls] == [
        "Enabled",
        "Method",
        "Weight",
        "Stop At",
        "Foreground",
        "Background",
        "Blending",
        "Resize Mode",
        "Output original mat for img2img",
        "Foreground Additional Prompt",
        "Background Additional Prompt",
        "Blending Additional Prompt",
        "Decontaminate",
        "Clean veil",
        "Remove specks",
        "Fill holes",
        "Trim",
        "Trim margin",
        "Follow new edges",
        "Behind",
        "Repaint with",
        "Repaint strength",
        "Repaint prompt",
        "Trigger words",
        # behind them all: which page it is
        "Page",
    ]
    # what hosts take for defaults must be what JSON can say
    assert json.loads(json.dumps([control.value for control in controls])) == [
        False,
        *[default for _, default in ARGUMENTS][1:],
        "",
    ]
