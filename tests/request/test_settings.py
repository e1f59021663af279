"""Script arguments and infotext: what a page, an API client or an old picture can say."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lib_layerdiffusion.errors import BadPicture, BadSetting, MissingPicture
from lib_layerdiffusion.methods import (
    DEFAULT_METHOD,
    FAMILIES,
    METHODS,
    RELEASED,
    WEIGHT_FILES,
    Injection,
    Layer,
    find_method,
)
from lib_layerdiffusion.pictures.arithmetic import ResizeMode
from lib_layerdiffusion.pictures.reading import given_picture
from lib_layerdiffusion.request.settings import ARGUMENTS, Settings
from tests.helpers.jobs import arguments, picture


def png(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def test_labels_are_the_released_ones() -> None:
    assert [method.label for method in METHODS] == [
        "(SD1.5) Only Generate Transparent Image (Attention Injection)",
        "(SD1.5) From Foreground to Background (need batch size 2)",
        "(SD1.5) From Background to Foreground (need batch size 2)",
        "(SD1.5) Generate Everything Together (need batch size 3)",
        "(SDXL) Only Generate Transparent Image (Attention Injection)",
        "(SDXL) Only Generate Transparent Image (Conv Injection)",
        "(SDXL) From Foreground to Blending",
        "(SDXL) From Foreground and Blending to Background",
        "(SDXL) From Background to Blending",
        "(SDXL) From Background and Blending to Foreground",
        "(Anima) Only Generate Transparent Image (RGBA VAE)",
        "(Any) Keep Transparency",
    ]
    assert DEFAULT_METHOD.label == "(SDXL) Only Generate Transparent Image (Attention Injection)"


def test_every_family_has_networks_of_its_own() -> None:
    files = [file for family in FAMILIES for file in {family.decoder, family.encoder}]
    files += [method.weights for method in METHODS if method.files]
    assert len({file.filename for file in files}) == len(files) == 16
    assert set(files) == set(WEIGHT_FILES)
    assert {file for method in METHODS for file in method.files} == set(files)


def test_table_rows_agree_with_the_released_behaviour() -> None:
    facts = {
        method.weights.name: (
            [layer.value[0] for layer in method.pictures],
            [layer.value[0] for layer in method.outputs],
            method.decodes_alpha,
            len(method.prompts),
        )
        for method in RELEASED
    }
    assert facts == {
        "layer_sd15_transparent_attn": ([], ["f"], True, 0),
        "layer_sd15_fg2bg": (["f"], ["b", "b"], False, 2),
        "layer_sd15_bg2fg": (["b"], ["f", "b"], True, 2),
        "layer_sd15_joint": ([], ["f", "b", "b"], True, 3),
        "layer_xl_transparent_attn": ([], ["f"], True, 0),
        "layer_xl_transparent_conv": ([], ["f"], True, 0),
        "layer_xl_fg2ble": (["f"], ["b"], False, 0),
        "layer_xl_fgble2bg": (["f", "b"], ["b"], False, 0),
        "layer_xl_bg2ble": (["b"], ["b"], False, 0),
        "layer_xl_bgble2fg": (["b", "b"], ["f"], True, 0),
    }


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.weights.name)
def test_old_names_are_understood(method: Any) -> None:
    old = method.label.replace("(SDXL) ", "").partition(" (need")[0]
    for name in (method.label, old, *method.aliases):
        assert find_method(name) is method


def test_unknown_method_is_answered_with_the_known_ones() -> None:
    with pytest.raises(BadSetting, match=r'no method "Glass".*From Foreground to Blending'):
        Settings.from_args(arguments("Glass"))


def test_disabled_looks_at_nothing_else() -> None:
    assert Settings.from_args([False, "nonsense", "nonsense", None, "broken"]) == Settings()
    assert not Settings.from_args([]).enabled


@pytest.mark.parametrize(
    ("value", "enabled"),
    [(True, True), (1, True), ("True", True), ("on", True), (False, False), (0, False), (None, False)]
    + [(text, False) for text in ("False", "false", "0", "no", "off", "", "None")],
)
def test_enabled_as_clients_write_it(value: Any, enabled: bool) -> None:
    assert Settings.from_args([value]).enabled is enabled


def test_short_argument_lists_have_defaults() -> None:
    settings = Settings.from_args([True])
    assert (settings.method, settings.weight, settings.ending_step) == (DEFAULT_METHOD, 1.0, 1.0)
    assert settings.resize_mode is ResizeMode.CROP
    assert [name for name, _ in ARGUMENTS[11:]] == [
        "blend_additional_prompt",
        "decontaminate",
        "clean_veil",
        "remove_specks",
        "fill_holes",
        "trim",
        "trim_margin",
        "follow_new_edges",
        "behind",
        "repaint_with",
        "repaint_strength",
        "repaint_prompt",
        "trigger_words",
    ]


def test_arguments_by_name() -> None:
    by_name = {"method": "From Foreground to Blending", "fg_image": picture(), "weight": 0.5}
    settings = Settings.from_args([by_name])
    assert (settings.enabled, settings.weight, settings.ending_step) == (True, 0.5, 1.0)
    assert list(settings.pictures) == [Layer.FOREGROUND]
    # hosts fill the places behind it with defaults
    assert Settings.from_args([{"weight": 2}, *[value for _, value in ARGUMENTS[1:]]]).weight == 2
    assert not Settings.from_args([{"enabled": False, "weight": 9}]).enabled


def test_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(
        BadSetting, match=r'no setting "wieght"; perhaps weight is meant\. It has: enabled, method'
    ):
        Settings.from_args([{"wieght": 1}])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weight": 2.5}, r'Weight \(weight\) of LayerDiffuse is "2.5"; it must be a number from 0 to 2.'),
        ({"weight": "heavy"}, r'Weight \(weight\) of LayerDiffuse is "heavy"'),
        ({"weight": float("nan")}, r'Weight \(weight\) of LayerDiffuse is "nan"'),
        ({"weight": None}, r'Weight \(weight\) of LayerDiffuse is "None"'),
        (
            {"ending_step": -0.1},
            r'Stop At \(ending_step\) of LayerDiffuse is "-0.1"; it must be a number from 0 to 1.',
        ),
        (
            {"resize_mode": "Tile"},
            r'Resize Mode \(resize_mode\) of LayerDiffuse is "Tile"; it must be one of "Just Resize"',
        ),
        ({"weight": True}, r'Weight \(weight\) of LayerDiffuse is "True"'),
        ({"enabled": "maybe"}, 'Value 1 of the list for LayerDiffuse is "maybe"; there belongs enabled'),
        ({"enabled": [1]}, r'Enabled \(enabled\) of LayerDiffuse is "list"'),
        ({"fg_additional_prompt": 3}, 'fg_additional_prompt of LayerDiffuse is "3"; it must be text.'),
        ({"fg_image": "not base64!"}, "The foreground picture is text that is not base64"),
        ({"bg_image": base64.b64encode(b"no picture").decode()}, "The background picture is not a picture"),
        ({"bg_image": 7}, "The background picture is a int"),
        ({"blend_image": np.zeros((4, 4, 7), np.uint8)}, r"array of shape \[4, 4, 7\]"),
        ({"fg_image": np.zeros((0, 4, 4), np.uint8)}, r"array of shape \[0, 4, 4\]"),
        ({"fg_image": np.full((4, 4, 3), np.nan)}, "values that are not numbers"),
    ],
)
def test_bad_values_are_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises((BadSetting, BadPicture), match=message):
        Settings.from_args(arguments(**change))


def test_null_prompts_are_no_prompts() -> None:
    args = arguments(fg_additional_prompt=None, bg_additional_prompt="  ", blend_additional_prompt="a table")
    assert Settings.from_args(args).prompts == {Layer.BLENDED: "a table"}


def test_missing_pictures_are_named() -> None:
    settings = Settings.from_args(arguments("(SDXL) From Background and Blending to Foreground"))
    with pytest.raises(MissingPicture, match="needs a background and a blended picture"):
        settings.require_pictures()


@pytest.mark.parametrize(
    "value",
    [
        picture(),
        Image.fromarray(picture()),
        png(Image.fromarray(picture())),
        "data:image/png;base64," + png(Image.fromarray(picture())),
        {"background": picture(), "layers": []},
        {"image": picture(), "mask": None},
    ],
    ids=["array", "pil", "base64", "data url", "editor", "sketch"],
)
def test_every_way_to_hand_over_a_picture_gives_the_same_pixels(value: Any) -> None:
    read = given_picture(value, "foreground")
    assert read is not None
    np.testing.assert_array_equal(read, picture())


@pytest.mark.parametrize("value", [None, "", "  ", {}, {"background": None}])
def test_no_picture(value: Any) -> None:
    assert given_picture(value, "foreground") is None


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "I", "F"])
def test_every_kind_of_picture_becomes_rgba(mode: str) -> None:
    grey = Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16))
    if mode in ("I;16", "I"):
        image = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257).convert(mode)
    else:
        image = grey.convert(mode)
    read = given_picture(image, "foreground")
    assert read is not None
    assert read.dtype == np.uint8
    assert read.shape == (16, 16, 4)
    assert (read[..., 3] == 255).all()
    expected = np.asarray(image.convert("L") if mode == "1" else grey)
    assert np.abs(read[..., 0].astype(int) - expected.astype(int)).max() <= 1


def test_palette_transparency_is_kept() -> None:
    palette = Image.fromarray(picture()[..., :3]).convert("P")
    palette.info["transparency"] = 0
    read = given_picture(palette, "foreground")
    assert read is not None
    np.testing.assert_array_equal(read[..., 3] == 0, np.asarray(palette) == 0)


def test_float_arrays_are_in_0_to_1() -> None:
    read = given_picture(picture().astype(np.float32) / 255, "foreground")
    assert read is not None
    np.testing.assert_array_equal(read, picture())


def test_weight_is_a_matter_of_patching() -> None:
    assert {m.family.key for m in METHODS if m.family.injection is Injection.WEIGHT_PATCH} == {"sdxl"}
    assert {layer for method in METHODS for layer in method.pictures} == set(Layer)
