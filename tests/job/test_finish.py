"""Finishing inside a job: what is saved, shown and sent is finished; what it was made from is not touched."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from lib_layerdiffusion.errors import BadSetting
from lib_layerdiffusion.job.generation import Generation
from lib_layerdiffusion.methods import Layer, find_method
from lib_layerdiffusion.pictures.arithmetic import preview
from lib_layerdiffusion.pictures.finishing import Steps, finish
from miniature.webui import infotext_format
from miniature.webui.processing import Processed
from tests.helpers.jobs import CONDITIONED, DECODING, arguments

Generate = Callable[..., Processed]
CLEANING: dict[str, Any] = {"decontaminate": 1.0, "clean_veil": 90, "remove_specks": 0.05, "fill_holes": 0.2}
STEPS = Steps(decontaminate=1, veil=90, specks=0.05, holes=0.2)
PAGE = "window script_txt2img_layerdiffuse_"


def array(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture)


def test_what_a_job_delivers_is_finished(generate: Generate) -> None:
    plain = generate(arguments()).images[0]
    result = generate(arguments(**CLEANING, trim=True, trim_margin=3))
    expected = finish(array(plain), Steps(**{**STEPS.__dict__, "trim": 3}))
    assert not np.array_equal(expected, array(plain))
    assert np.array_equal(array(result.images[0]), expected)
    shown = array(result.extra_images[0])
    assert np.array_equal(shown, preview(expected.astype(np.float32) / np.float32(255)))


def test_with_everything_off_the_decode_is_delivered_as_it_is(
    generate: Generate, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[np.ndarray] = []
    decode = Generation.decode

    def spy(self: Generation, *args: Any) -> Any:
        decoded.append(decode(self, *args))
        return decoded[-1]

    monkeypatch.setattr(Generation, "decode", spy)
    result = generate(arguments(trim_margin=9))
    assert np.array_equal(array(result.images[0]), decoded[0])
    assert "decontaminate" not in result.info
    assert "trim:" not in result.info


def test_latent_and_seed_stay_as_they_were(generate: Generate, monkeypatch: pytest.MonkeyPatch) -> None:
    latents: list[torch.Tensor] = []
    check = Generation.check_sampled

    def spy(self: Generation, latent: torch.Tensor) -> None:
        latents.append(latent.clone())
        check(self, latent)

    monkeypatch.setattr(Generation, "check_sampled", spy)
    seeds = [generate(arguments(**changes), seed=7).all_seeds for changes in ({}, {**CLEANING, "trim": True})]
    assert seeds[0] == seeds[1]
    assert torch.equal(latents[0], latents[1])


@pytest.mark.parametrize(("trim", "kept"), [(False, "finished"), (True, "decoded")])
def test_a_slot_gets_the_finished_picture_unless_its_pixels_moved(
    generate: Generate, script: Any, trim: bool, kept: str
) -> None:
    plain = array(generate(arguments()).images[0])
    result = generate([*arguments(**CLEANING, trim=trim), PAGE])
    slot = script.handlers.latest.picture_for(PAGE, Layer.FOREGROUND)
    assert slot is not None
    assert np.array_equal(slot, array(result.images[0]) if kept == "finished" else plain)


def test_the_infotext_makes_the_finished_picture_again(generate: Generate, script: Any) -> None:
    from lib_layerdiffusion.request import infotext

    first = generate(arguments(**CLEANING, trim=True, trim_margin=2), seed=5)
    params = infotext_format.read(first.info)
    keys = infotext.keys()
    replayed = {name: key(params) for name, key in keys.items() if not name.endswith("_image")}
    assert {name: replayed[name] for name in CLEANING} == CLEANING
    assert (replayed["trim"], replayed["trim_margin"]) == (True, 2)
    again = generate([replayed], seed=5)
    assert np.array_equal(array(first.images[0]), array(again.images[0]))


def test_layers_without_transparency_are_not_finished(generate: Generate) -> None:
    method = next(one for one in CONDITIONED if not one.decodes_alpha)
    plain = generate(arguments(method))
    result = generate(arguments(method, **CLEANING, trim=True))
    assert np.array_equal(array(plain.images[0]), array(result.images[0]))
    assert "decontaminate" not in result.info


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ({"decontaminate": 2}, 'Decontaminate (decontaminate) of LayerDiffuse is "2"; it must be a number'),
        ({"clean_veil": 3.5}, 'is "3.5"; it must be a whole number from 0 to 254'),
        ({"trim": "perhaps"}, 'Trim (trim) of LayerDiffuse is "perhaps"; it must be true or false'),
    ],
)
def test_a_bad_value_ends_the_job_with_a_sentence(
    generate: Generate, value: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(BadSetting) as caught:
        generate([{"method": DECODING[0].label, **value}])
    assert sentence in str(caught.value)


def test_names_of_the_page_work_in_an_object(generate: Generate) -> None:
    by_title = generate([{"Decontaminate": 1, "Clean veil": 90, "remove specks": 0.05, "Fill Holes": 0.2}])
    assert np.array_equal(array(by_title.images[0]), array(generate(arguments(**CLEANING)).images[0]))
    assert find_method(DECODING[0].label).decodes_alpha
