"""Every way that programs send the arguments: what is understood, and the sentence for what is not."""

from __future__ import annotations

import json
import urllib.request
from types import SimpleNamespace
from typing import Any
from urllib.error import HTTPError

import pytest

from lib_layerdiffusion.errors import BadSetting
from lib_layerdiffusion.methods import METHODS, SDXL
from lib_layerdiffusion.request import spellings
from lib_layerdiffusion.request.settings import NAMES, Settings
from miniature.webui.api import Api

CONVOLUTION = [method.label for method in METHODS if method.family is SDXL][1]
ORDER = ", ".join(NAMES)


def post(server: str, scripts: Any) -> tuple[int, dict[str, Any]]:
    body = json.dumps({"prompt": "a cup", "alwayson_scripts": scripts}).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(f"{server}/sdapi/v1/txt2img", body)) as answer:
            return answer.status, json.load(answer)
    except HTTPError as error:
        return error.code, json.load(error)


@pytest.mark.parametrize(
    "script",
    [
        {"args": [True, CONVOLUTION, 0.5]},
        {"args": [{"method": CONVOLUTION, "weight": 0.5}]},
        {"args": {"method": CONVOLUTION, "weight": 0.5}},
        {"method": CONVOLUTION, "weight": 0.5},
        {"enabled": True, "Method": CONVOLUTION, "Weight": 0.5, "stop_at": 1, "Resize Mode": "Just Resize"},
        [True, CONVOLUTION, 0.5],
        [{"method": CONVOLUTION, "weight": "0.5"}],
    ],
    ids=str,
)
def test_what_can_be_understood_is_done(server: str, script: Any) -> None:
    status, answer = post(server, {"LayerDiffuse": script})
    assert status == 200, answer
    (infotext, *_) = json.loads(answer["info"])["infotexts"]
    assert f"layerdiffusion_method: {CONVOLUTION}" in infotext
    assert "layerdiffusion_weight: 0.5" in infotext


@pytest.mark.parametrize(
    ("script", "sentence"),
    [
        (None, f"LayerDiffuse is null; it must be an object, or a list of values in this order: {ORDER}."),
        (True, 'LayerDiffuse is "True"; it must be an object, or a list'),
        ("yes", 'LayerDiffuse is "yes"; it must be an object, or a list'),
        (
            {"args": None},
            '"args" of LayerDiffuse is null; it must be an object, or a list of values in this',
        ),
        ({"args": "yes"}, '"args" of LayerDiffuse is "yes"; it must be an object, or a list of values'),
        ({"args": 1}, '"args" of LayerDiffuse is "1"; it must be an object, or a list of values'),
        ({"args": [True], "weight": 0.5}, 'The request has "weight" beside "args" of LayerDiffuse'),
        ({"args": [{"weight": 0.5}, True]}, "is a list of an object and more"),
        (
            {"args": [True, *[None] * len(NAMES)]},
            f"it takes at most {len(NAMES)}, in this order: {ORDER}.",
        ),
        ({"methode": CONVOLUTION}, 'LayerDiffuse has no setting "methode"; perhaps method is meant.'),
    ],
    ids=str,
)
def test_what_is_no_list_of_arguments_gets_a_sentence(server: str, script: Any, sentence: str) -> None:
    status, answer = post(server, {"layerdiffuse": script})
    assert status == 422
    assert sentence in answer["detail"]
    assert answer["detail"].endswith(".")


@pytest.mark.parametrize("script", [{}, {"args": []}], ids=str)
def test_nothing_said_is_as_the_page_has_it(server: str, script: Any) -> None:
    status, answer = post(server, {"LayerDiffuse": script})
    assert status == 200
    assert "layerdiffusion" not in answer["info"]


def test_other_scripts_are_none_of_ours() -> None:
    spelled = {"args": {"a": 1}, "weight": 3}
    request = SimpleNamespace(alwayson_scripts={"other": spelled, "LayerDiffuse": {"weight": 0.5}})
    api = type("Api", (), {"init_script_args": lambda self, request: request.alwayson_scripts})
    from lib_layerdiffusion.hosts.webui_page import accept_named_arguments

    accept_named_arguments(api)
    accept_named_arguments(api)
    assert api().init_script_args(request) == {"other": spelled, "LayerDiffuse": {"args": [{"weight": 0.5}]}}


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (
            [{"method": 4}],
            f'Method (method) of LayerDiffuse is "4"; it must be the name of one: {METHODS[0].label}; ',
        ),
        ([{"method": None}], 'Method (method) of LayerDiffuse is "None"; it must be the name of one'),
        (
            [{"model": "layer_xl_transparent_attn"}],
            'no setting "model"; perhaps method is meant. It has: enabled',
        ),
        ([{"module": "x"}], "perhaps method is meant"),
        ([{"guidance_end": 1}], "perhaps ending_step is meant"),
        ([{"image": "x"}], "perhaps fg_image or bg_image or blend_image is meant"),
        (
            [{"stop at": 1, "ending_step": 1}],
            'got ending_step twice, as "stop at" and as "ending_step"; send one.',
        ),
        ([{"frobnicate": 1}], f'no setting "frobnicate". It has: {ORDER}.'),
        # eleven values: the first one forgotten
        (
            [CONVOLUTION, 1.0, 1.0, None, None, None, "Just Resize", False, "", "", ""],
            f'Value 1 of the list for LayerDiffuse is "{CONVOLUTION}"; there belongs enabled, which is true '
            f"or false. The values are, in this order: {ORDER}.",
        ),
        # eleven values: the one without effect forgotten
        (
            [True, CONVOLUTION, 1.0, 1.0, None, None, None, "Just Resize", "a cup", "a beach", ""],
            'Value 9 of the list for LayerDiffuse is "a cup"; there belongs output_origin',
        ),
        ([{"output_origin": "a cup"}], 'output_origin of LayerDiffuse is "a cup"; it must be true or false.'),
        ([{"weight": "x" * 5000}], f'Weight (weight) of LayerDiffuse is "{"x" * 77}..."; it must be'),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_cannot_be_understood_names_the_right_word(args: list[Any], sentence: str) -> None:
    with pytest.raises(BadSetting) as caught:
        Settings.from_args(args)
    assert sentence in str(caught.value)


def test_eleven_values_leave_the_last_at_its_default() -> None:
    values = [True, CONVOLUTION, 0.5, 0.5, None, None, None, "Just Resize", False, "a cup", "a beach"]
    settings = Settings.from_args(values)
    assert settings.weight == 0.5
    assert sorted(settings.prompts.values()) == ["a beach", "a cup"]


def test_a_list_that_begins_with_no_is_not_looked_at() -> None:
    for no in (False, None, 0, "off"):
        assert Settings.from_args([no, 4, "x", None, None, None, None, None, "a cup"]) == Settings()


def test_every_label_of_page_and_plot_is_accepted(script: Any) -> None:
    gradio = pytest.importorskip("gradio")
    from lib_layerdiffusion.request.xyz_axes import AXES

    with gradio.Blocks(analytics_enabled=False):
        controls = script.ui(False)[: len(NAMES)]
    labels = dict(zip(NAMES, (control.label for control in controls), strict=True))
    for name, label in labels.items():
        assert spellings.named({label: 1}, NAMES) == {name: 1}
    for axis in AXES:
        if axis.name in NAMES:
            assert spellings.named({axis.title: 1}, NAMES) == {axis.name: 1}


def test_every_other_name_means_an_argument() -> None:
    assert set(spellings.ALIASES.values()) <= set(NAMES)
    assert {name for names in spellings.MEANT.values() for name in names} <= set(NAMES)
    assert not set(spellings.ALIASES) & set(NAMES)


def test_without_us_the_api_answers_as_hosts_do() -> None:
    """What the miniature stands in for: a request by names is lost, and null is an error of Python's."""
    plain = type(
        "Api", (), {"init_script_args": getattr(Api.init_script_args, "__wrapped__", Api.init_script_args)}
    )
    lost = SimpleNamespace(alwayson_scripts={"LayerDiffuse": {"weight": 0.5}})
    assert plain().init_script_args(lost, [False]) == [False]
    with pytest.raises(TypeError):
        plain().init_script_args(SimpleNamespace(alwayson_scripts={"LayerDiffuse": None}), [False])
