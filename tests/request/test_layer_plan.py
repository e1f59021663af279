"""What a run of layers is asked for, and which steps it takes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lib_layerdiffusion.errors import BadPicture, BadSetting, LayerDiffuseError, MissingPicture
from lib_layerdiffusion.methods import SD15, SDXL, Family, Layer
from lib_layerdiffusion.request.layer_plan import (
    ARGUMENTS,
    NAMES,
    ON_PAGE,
    Asked,
    Kind,
    Part,
    Step,
    methods_of,
    plan,
)


def steps(
    family: Family = SDXL, prompt: str = "meadow", pictures: int = 0, mask: bool = False, **values: Any
):
    return plan(Asked.from_args([values]), family, prompt, pictures, mask)


def told(made: list[Step]) -> list[tuple[str, str, str]]:
    return [(one.part.value, one.prompt, one.method.weights.name if one.method else "") for one in made]


def test_objects_on_a_generated_background() -> None:
    assert told(steps(objects="red apple\n\n  star ")) == [
        ("background", "meadow", ""),
        ("blending", "red apple, meadow", "layer_xl_bg2ble"),
        ("object", "red apple", "layer_xl_bgble2fg"),
        ("blending", "star, meadow", "layer_xl_bg2ble"),
        ("object", "star", "layer_xl_bgble2fg"),
    ]


@pytest.mark.parametrize("given", [{"pictures": 1}, {"bg_image": np.zeros((8, 8, 3), np.uint8)}])
def test_objects_on_a_given_background(given: dict[str, Any]) -> None:
    made = steps(prompt="", objects=["star"], **given)
    assert told(made) == [("blending", "star", "layer_xl_bg2ble"), ("object", "star", "layer_xl_bgble2fg")]
    assert not any(step.with_picture for step in made)


def test_objects_with_an_sd15_checkpoint() -> None:
    made = steps(SD15, objects="star")
    assert told(made) == [("background", "meadow", ""), ("object", "star", "layer_sd15_bg2fg")]
    assert made[1].prompts == {Layer.BLENDED: "meadow"}


def test_a_subject_and_its_surroundings() -> None:
    made = steps(kind=Kind.SURROUNDINGS.value, prompt="red apple", surroundings="meadow")
    assert told(made) == [
        ("transparent", "red apple", "layer_xl_transparent_attn"),
        ("blending", "red apple, meadow", "layer_xl_fg2ble"),
        ("surroundings", "meadow", "layer_xl_fgble2bg"),
    ]
    assert [step.ending_step for step in made] == [1, 1, 0.5]
    assert steps(kind="surroundings", surroundings="sea", together="both")[1].prompt == "both"
    sd15 = steps(SD15, "red apple", kind="surroundings", surroundings="meadow")
    assert told(sd15)[1:] == [("blending", "meadow", "layer_sd15_fg2bg")]
    assert sd15[1].prompts == {Layer.BLENDED: "red apple"}


def test_the_subject_begins_with_the_picture_of_img2img() -> None:
    made = steps(pictures=1, kind="surroundings", surroundings="meadow")
    assert [step.with_picture for step in made] == [True, False, False]


def test_objects_out_of_a_picture_front_to_back() -> None:
    mask = np.zeros((8, 8, 4), np.uint8)
    made = steps(pictures=1, kind="cut_out", objects="cup\ntable", masks=[mask, mask])
    assert told(made) == [
        ("background", "meadow", ""),
        ("object", "cup", "layer_xl_bgble2fg"),
        ("background", "meadow", ""),
        ("object", "table", "layer_xl_bgble2fg"),
    ]
    assert told(steps(pictures=1, mask=True, kind="cut_out"))[1] == ("object", "", "layer_xl_bgble2fg")


def test_each_step_has_its_own_weight_and_stop() -> None:
    made = steps(objects="star", blending_weight=0.7, object_ending_step="0.4")
    assert [(one.weight, one.ending_step) for one in made] == [(1, 1), (0.7, 1), (1, 0.4)]


def test_values_of_the_page_in_order_mean_the_same_as_by_name() -> None:
    values = {**dict(ARGUMENTS), "objects": "star", "seeds": "One more for each step", "blending_weight": 0.5}
    by_name, in_order = Asked.from_args([values]), Asked.from_args([values[name] for name in ON_PAGE])
    assert by_name == in_order
    assert in_order.counts_seeds
    assert in_order.weights[Part.BLENDING] == 0.5


def test_methods_are_told_once() -> None:
    assert len(methods_of(steps(objects="a\nb\nc"))) == 2


@pytest.mark.parametrize(
    ("family", "values", "sentence"),
    [
        (SDXL, {}, "has no object to put into the background"),
        (SDXL, {"objects": " \n "}, "has no object"),
        (SDXL, {"objects": "a" * 10_000}, "has a prompt of 10000 characters; use at most 4000"),
        (SDXL, {"objects": "a\n" * 200}, "has 200 objects; write at most 20"),
        (SDXL, {"objects": 5}, 'objects of LayerDiffuse layers is "5"; it must be text of one object a line'),
        (SDXL, {"kind": "surroundings"}, "no prompt for the surroundings"),
        (SDXL, {"kind": "collage"}, 'kind of LayerDiffuse layers is "collage"; it must be one of "A backg'),
        (SDXL, {"kind": "cut_out"}, "needs a picture with a mask over the object"),
        (SDXL, {"kind": "cut_out", "pictures": 1}, "needs a picture with a mask over the object"),
        (SD15, {"kind": "cut_out", "pictures": 1, "mask": True}, "needs an SDXL checkpoint"),
        (
            SDXL,
            {"kind": "cut_out", "pictures": 1, "mask": True, "objects": "a\nb"},
            "There are 2 objects and 1 masks",
        ),
        (SDXL, {"objects": "a", "blending_weight": 3}, 'blending_weight of LayerDiffuse layers is "3"'),
        (SDXL, {"objects": "a", "object_ending_step": True}, "must be a number from 0 to 1"),
        (SDXL, {"objects": "a", "seeds": "random"}, 'seeds of LayerDiffuse layers is "random"'),
        (SDXL, {"objects": "a", "layers": "tiff"}, 'layers of LayerDiffuse layers is "tiff"'),
        (SDXL, {"objects": "a", "surroundings": 7}, "must be text"),
        (SDXL, {"objects": "a", "masks": "x"}, "must be a list of pictures"),
        (SDXL, {"objects": "a", "masks": [None]}, "One of the masks is missing"),
        (SDXL, {"objects": "a", "bg_image": "?"}, "The background picture is text that is not base64"),
        (SDXL, {"object": "a"}, 'has no setting "object"; perhaps objects is meant'),
    ],
)
def test_one_sentence_for_what_is_wrong(family: Family, values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(LayerDiffuseError) as caught:
        steps(family, **values)
    assert sentence in str(caught.value)
    assert isinstance(caught.value, BadSetting | MissingPicture | BadPicture | LayerDiffuseError)


def test_names_are_no_names_of_other_arguments() -> None:
    """A name that means another argument of the panel's could not be sent."""
    values = {**dict(ARGUMENTS), "objects": "star"}
    assert Asked.from_args([values]) == Asked.from_args([{"objects": "star"}])
    assert len(set(NAMES)) == len(NAMES)
