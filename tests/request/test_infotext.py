"""Infotext of three generations of the extension, read back into the panel; and what cannot be read back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lib_layerdiffusion.methods import METHODS, SD15, SDXL, Layer
from lib_layerdiffusion.pictures.arithmetic import ResizeMode
from lib_layerdiffusion.request import infotext
from lib_layerdiffusion.request.options import Options
from lib_layerdiffusion.request.settings import ARGUMENTS, SHORT, Settings
from miniature.webui import infotext_format as webui
from tests.helpers.jobs import arguments, picture

BLOCKS = (Path(__file__).parent / "infotexts.txt").read_text("utf-8").strip().split("\n\n")
KEYS = infotext.keys()

ATTENTION, BG_TO_BLEND = "layer_xl_transparent_attn", "layer_xl_bg2ble"
FG_TO_BLEND, FG_AND_BLEND = "layer_xl_fg2ble", "layer_xl_fgble2bg"
ALONE, TOGETHER = "layer_sd15_transparent_attn", "layer_sd15_joint"
BG_TO_FG, FG_TO_BG = "layer_sd15_bg2fg", "layer_sd15_fg2bg"
# layer model, and the prompts of the layers; the blocks say nothing else that differs
EXPECTED: tuple[tuple[str, tuple[str, str, str]], ...] = (
    *[(ATTENTION, ("", "", ""))] * 6,
    (BG_TO_BLEND, ("", "", "")),
    (ATTENTION, ("", "", "")),
    (FG_TO_BLEND, ("", "", "")),
    (FG_AND_BLEND, ("", "", "")),
    (ALONE, ("", "", "")),
    *[(TOGETHER, ("", "", ""))] * 2,
    (TOGETHER, ("apple", "floor in room", "apple on floor in room")),
    (TOGETHER, ("dog running", "street", "dog running in street")),
    (TOGETHER, ("a man sitting", "chair", "a man sitting on chair")),
    (BG_TO_FG, ("", "", "")),
    (ALONE, ("", "", "")),
    (FG_TO_BG, ("", "", "")),
    (ALONE, ("", "", "")),
    (FG_TO_BG, ("", "", "")),
    (BG_TO_FG, ("", "", "")),
)


def filled(text: str) -> dict[str, Any]:
    """What the controls show after pasting into a fresh panel, by argument name."""
    params = webui.read(text)
    values = {name: key(params) for name, key in KEYS.items()}
    return {**dict(ARGUMENTS), **{name: value for name, value in values.items() if value is not None}}


def replayed(text: str, **pictures: Any) -> Settings:
    return Settings.from_args(list({**filled(text), **pictures}.values()))


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_every_published_infotext_gives_its_settings(number: int) -> None:
    weights, prompts = EXPECTED[number]
    settings = replayed(BLOCKS[number])
    assert settings.enabled
    assert settings.method.weights.name == weights
    assert settings.weight == 1.0
    assert settings.ending_step == (0.5 if weights == FG_AND_BLEND else 1.0)
    assert settings.resize_mode is ResizeMode.CROP
    assert tuple(settings.prompts.get(layer, "") for layer in SHORT) == prompts


def test_the_published_infotexts_are_of_all_generations() -> None:
    assert len(BLOCKS) == len(EXPECTED) == 22
    named = [webui.read(block)["layerdiffusion_method"] for block in BLOCKS]
    assert sum(name.startswith("(SD1.5)") for name in named) == 12
    assert not any(name.startswith("(SDXL)") or "need batch size" in name for name in named)


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.weights.name)
def test_every_spelling_of_every_method_is_read(method: Any) -> None:
    spellings = {method.label, *method.aliases, method.label.partition(" (need")[0]}
    if method.family is SDXL:
        spellings.add(method.label.removeprefix("(SDXL) "))
    for name in spellings:
        text = webui.write(
            "a cup", {"Steps": 1, "layerdiffusion_enabled": True, "layerdiffusion_method": name}
        )
        assert replayed(text).method is method


def test_infotext_of_another_picture_switches_off_and_leaves_the_rest() -> None:
    params = webui.read("a cup\nSteps: 2, Sampler: Euler a, Seed: 1")
    values = {name: key(params) for name, key in KEYS.items() if key(params) is not None}
    assert values == {
        "enabled": False,
        **{f"{short}_additional_prompt": "" for short in SHORT.values()},
        "repaint_prompt": "",
    }


@pytest.mark.parametrize(
    "changes",
    [
        {"layerdiffusion_enabled": False},
        {"layerdiffusion_method": "(SDXL) From Nothing to Everything"},
        {"layerdiffusion_method": ""},
    ],
)
def test_settings_that_cannot_be_replayed_switch_off(changes: dict[str, Any]) -> None:
    keys = {"Steps": 1, "Seed": 1, **infotext.write(Settings.from_args(arguments()), Options()), **changes}
    assert not filled(webui.write("a cup", keys))["enabled"]


@pytest.mark.parametrize("name", ["weight", "ending_step", "resize_mode"])
def test_values_that_mean_nothing_leave_the_control_alone(name: str) -> None:
    keys = {"Steps": 1, **infotext.write(Settings.from_args(arguments()), Options())}
    for value in ("heavy", "-1", "nan", "7"):
        params = webui.read(webui.write("a cup", {**keys, f"layerdiffusion_{name}": value}))
        assert KEYS[name](params) is None


def test_pictures_are_sent_from_tab_to_tab_but_never_read_from_text() -> None:
    params = webui.read(BLOCKS[9])
    for short in SHORT.values():
        key = KEYS[f"{short}_image"]
        assert key in [f"layerdiffusion_{short}_image"]
        assert key(params) is None


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.weights.name)
def test_pictures_that_a_replay_needs_are_known(method: Any) -> None:
    keys = infotext.write(Settings.from_args(arguments(method)), Options())
    params = webui.read(webui.write("a cup", {"Steps": 1, **keys}))
    assert infotext.needed_pictures(params) == method.pictures
    assert infotext.needed_pictures({**params, "layerdiffusion_enabled": "False"}) == ()


def test_keys_and_their_order() -> None:
    settings = Settings.from_args(
        arguments(
            "From Foreground to Blending", fg_image=picture(), weight=0.5, fg_additional_prompt=" a cup "
        )
    )
    assert list(infotext.write(settings, Options()).items()) == [
        ("layerdiffusion_enabled", True),
        ("layerdiffusion_method", "(SDXL) From Foreground to Blending"),
        ("layerdiffusion_weight", 0.5),
        ("layerdiffusion_ending_step", 1.0),
        ("layerdiffusion_fg_image", True),
        ("layerdiffusion_bg_image", False),
        ("layerdiffusion_blend_image", False),
        ("layerdiffusion_resize_mode", "Crop and Resize"),
        ("layerdiffusion_fg_additional_prompt", "a cup"),
    ]


awkward = st.text(st.sampled_from(list(', :"\\\n\r\t\x00aé1x/-(){}<>\u2028')), max_size=12)


@given(
    method=st.sampled_from(METHODS),
    weight=st.floats(0, 2),
    ending_step=st.floats(0, 1),
    resize_mode=st.sampled_from(ResizeMode),
    prompts=st.lists(awkward | st.text(max_size=40), min_size=3, max_size=3),
)
@example(METHODS[3], 1.0, 1.0, ResizeMode.CROP, ['a cup, blue: "glass"', '"quoted"', "512x768"])
@example(METHODS[3], 1e-05, 0.1, ResizeMode.FILL, ['"', 'a "b" c', "\\"])
@example(METHODS[3], 2.0, 0.0, ResizeMode.STRETCH, ["a\nb", "a: b", '"open, end: x'])
@example(METHODS[3], 2.0, 0.0, ResizeMode.STRETCH, ["layerdiffusion_enabled: False, Steps: 1", "a\\", '\\"'])
def test_settings_survive_the_way_through_infotext(
    method: Any, weight: float, ending_step: float, resize_mode: ResizeMode, prompts: list[str]
) -> None:
    pictures = {f"{SHORT[layer]}_image": picture() for layer in method.pictures}
    names = [f"{short}_additional_prompt" for short in SHORT.values()]
    before = Settings.from_args(
        arguments(
            method,
            weight=weight,
            ending_step=ending_step,
            resize_mode=resize_mode.value,
            **dict(zip(names, prompts, strict=True)),
        )
    )
    text = webui.write("a cup", {"Steps": 1, **infotext.write(before, Options()), "Version": "neo"})
    after = replayed(text, **pictures)
    assert after.pictures.keys() == before.pictures.keys() == set(method.pictures)
    assert {**vars(after), "pictures": None} == {**vars(before), "pictures": None}


def test_sd15_and_sdxl_are_told_apart_where_a_name_has_no_prefix() -> None:
    # names without a prefix are older than the SD1.5 methods
    method = replayed(BLOCKS[0]).method
    assert method.family is SDXL
    assert replayed(BLOCKS[10]).method.family is SD15
    assert method.outputs == (Layer.FOREGROUND,)
