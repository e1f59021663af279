"""Transparent pictures, not numbers: the trained miniature through the extension's own path.

Bounds lie between what was measured (miniature/README.md) and what broken code gives.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from miniature.measure import quality
from miniature.nets.trained import WEIGHTS
from miniature.webui.demo import METHOD, Trained
from tests.helpers.jobs import pixels
from tests.helpers.trained import quickly


@pytest.fixture(scope="module")
def every_pass() -> Trained:
    return Trained()


@pytest.fixture(scope="module")
def known_scenes(every_pass: Trained) -> list[quality.Layers]:
    with quickly(every_pass):
        return quality.scenes(every_pass)


@pytest.fixture
def trained(every_pass: Trained) -> Iterator[Trained]:
    """For what the generator makes: how its transparency is decoded is not the subject."""
    with quickly(every_pass):
        yield every_pass


def test_held_out_pictures_survive_encode_and_decode(trained: Trained) -> None:
    trips = [quality.round_trip(trained, rgba) for rgba in quality.held_out().values()]
    assert np.mean([trip.alpha for trip in trips]) < 0.04
    assert max(trip.alpha for trip in trips) < 0.08
    assert np.mean([trip.colour for trip in trips]) < 0.045


def test_see_through_pictures_survive_encode_and_decode(trained: Trained) -> None:
    trips = [quality.round_trip(trained, rgba) for rgba in quality.see_through(quality.held_out()).values()]
    assert np.mean([trip.alpha for trip in trips]) < 0.06
    assert max(trip.alpha for trip in trips) < 0.14


def test_the_offset_leaves_the_autoencoders_own_decoding_as_good(trained: Trained) -> None:
    kept = [quality.decoding_kept(trained, rgba) for rgba in quality.see_through(quality.held_out()).values()]
    for plain, adjusted in kept:
        assert adjusted > plain - 1
    assert np.mean([adjusted - plain for plain, adjusted in kept]) > -0.3


@pytest.mark.parametrize("method", [quality.ATTENTION, quality.CONVOLUTION], ids=lambda m: m.weights.name)
def test_generated_pictures_are_transparent_around_an_opaque_subject(trained: Trained, method) -> None:
    made = [
        one
        for seed in (1, 11)
        for one in quality.generated_together(trained, quality.SOLID, seed, method=method.label)
    ]
    good = [one.border < 0.05 and one.middle > 0.95 for one in made]
    assert np.mean(good) >= 0.95


def test_pictures_are_opaque_without_the_patch(trained: Trained) -> None:
    made = quality.generated_together(trained, quality.SOLID, 1, weight=0.0)
    for prompt, one in zip(quality.SOLID, made, strict=True):
        assert one.all > 0.98, prompt


def test_glass_is_see_through(trained: Trained) -> None:
    for prompt in ("wine glass", "crystal ball"):
        result = trained.run([{"method": quality.ATTENTION.label}], prompt=prompt, seed=1)
        alpha = pixels(result)[0, ..., 3]
        assert ((alpha > 40) & (alpha < 215)).mean() > 0.15, prompt


def test_prompts_decide_what_is_drawn(trained: Trained) -> None:
    colours = {}
    for prompt in ("red apple", "lemon"):
        result = trained.run([{"method": quality.ATTENTION.label}], prompt=prompt, seed=1)
        colours[prompt] = pixels(result)[0, 52:76, 52:76].mean((0, 1))
    assert colours["red apple"][1] < 120 < 160 < colours["lemon"][1]


def test_foreground_to_blended_keeps_the_foreground(
    trained: Trained, known_scenes: list[quality.Layers]
) -> None:
    assert np.mean([quality.foreground_kept(trained, scene) for scene in known_scenes]) > 23


def test_background_to_blended_keeps_the_background(
    trained: Trained, known_scenes: list[quality.Layers]
) -> None:
    assert np.mean([quality.background_kept(trained, scene) for scene in known_scenes]) > 20


def test_the_background_is_found_without_the_foreground(
    trained: Trained, known_scenes: list[quality.Layers]
) -> None:
    found = [quality.background_found(trained, scene) for scene in known_scenes]
    assert np.mean([to_background for to_background, _ in found]) > 15
    for to_background, to_blended in found:
        assert to_background > to_blended + 4


def test_the_foreground_is_found_with_its_alpha(trained: Trained, known_scenes: list[quality.Layers]) -> None:
    errors = [quality.foreground_found(trained, scene) for scene in known_scenes]
    assert np.mean(errors) < 0.04


def test_condition_pictures_alone_tell_what_is_to_be_found(
    trained: Trained, known_scenes: list[quality.Layers]
) -> None:
    found = [quality.found_unprompted(trained, scene) for scene in known_scenes]
    assert np.mean([background for background, _ in found]) > 14
    assert np.mean([alpha for _, alpha in found]) < 0.1


def test_stop_at_and_weight_lead_from_transparent_to_opaque(trained: Trained) -> None:
    label = METHOD["layer_xl_transparent_attn"].label
    border = {
        stop: quality.generated(trained, "red apple", 1, method=label, ending_step=stop).border
        for stop in (0.0, 1.0)
    }
    assert border[1.0] < 0.05
    assert border[0.0] > 0.9


def test_an_infotext_gives_the_same_picture_again(trained: Trained) -> None:
    from miniature.webui.infotext_format import read

    given = {"method": quality.ATTENTION.label, "weight": 0.9, "ending_step": 0.95}
    first = trained.run([given], prompt="red apple", seed=3)
    params = read(first.info)
    again = {
        "method": params["layerdiffusion_method"],
        "weight": float(params["layerdiffusion_weight"]),
        "ending_step": float(params["layerdiffusion_ending_step"]),
    }
    second = trained.run([again], prompt="red apple", seed=int(params["Seed"]), steps=int(params["Steps"]))
    assert (pixels(first) == pixels(second)).all()


def test_everything_fits_into_a_repository() -> None:
    assert sum(path.stat().st_size for path in WEIGHTS.rglob("*.safetensors")) <= 46_000_000
