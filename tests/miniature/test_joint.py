"""Scenes whose layers fit together: the trained SD1.5 miniature through the extension's own path.

Bounds lie between what was measured (miniature/README.md) and what broken code gives.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from lib_layerdiffusion.methods import SD15, SDXL
from miniature.measure import agreement, quality
from miniature.webui.demo import METHOD, Trained
from tests.helpers.trained import quickly

ALONE = METHOD["layer_sd15_transparent_attn"].label


@pytest.fixture(scope="module")
def known_scenes(trained: Trained) -> list[quality.Layers]:
    trained.load(SDXL)
    scenes = quality.scenes(trained)
    trained.load(SD15)
    return scenes


@pytest.fixture(scope="module")
def trained() -> Iterator[Trained]:
    """How transparency is decoded is not the subject."""
    trained = Trained(SD15)
    with quickly(trained):
        yield trained


@pytest.fixture(scope="module")
def scenes_together(trained: Trained) -> list[agreement.Frames]:
    return [agreement.together(trained, *named) for named in quality.NAMED]


def test_generated_pictures_are_transparent_around_an_opaque_subject(trained: Trained) -> None:
    made = [
        one
        for seed in (1, 11)
        for one in quality.generated_together(trained, quality.SOLID, seed, method=ALONE)
    ]
    assert np.mean([one.border < 0.05 and one.middle > 0.95 for one in made]) >= 0.95


def test_pictures_are_opaque_without_the_layer_model(trained: Trained) -> None:
    made = quality.generated_together(trained, quality.SOLID, 1, method=ALONE, weight=0.0)
    for prompt, one in zip(quality.SOLID, made, strict=True):
        assert one.all > 0.98, prompt


def test_layers_made_together_are_one_scene(scenes_together: list[agreement.Frames]) -> None:
    own = [agreement.agreement(made) for made in scenes_together]
    others = [*scenes_together[1:], scenes_together[0]]
    mixed = [
        agreement.agreement(made, background=other.background)
        for made, other in zip(scenes_together, others, strict=True)
    ]
    assert np.mean(own) > 24.5
    assert np.mean(own) > np.mean(mixed) + 8
    assert max(map(agreement.border, scenes_together)) < 0.05


def test_a_background_is_made_for_a_foreground(trained: Trained, known_scenes: list[quality.Layers]) -> None:
    made = [agreement.around_foreground(trained, scene, scene.both) for scene in known_scenes]
    pairs = list(zip(known_scenes, made, strict=True))
    assert np.mean([agreement.foreground_kept(scene, one) for scene, one in pairs]) > 23
    assert (
        np.mean([agreement.agreement(one, quality.as_float(scene.foreground)) for scene, one in pairs]) > 23
    )


def test_a_foreground_is_made_for_a_background(trained: Trained, known_scenes: list[quality.Layers]) -> None:
    made = [agreement.before_background(trained, scene, scene.both) for scene in known_scenes]
    pairs = list(zip(known_scenes, made, strict=True))
    assert np.mean([agreement.background_kept(scene, one) for scene, one in pairs]) > 26
    assert np.mean([agreement.agreement(one, background=scene.background) for scene, one in pairs]) > 24
    assert max(map(agreement.border, made)) < 0.05


def test_a_foreground_alone_tells_what_is_to_be_kept(
    trained: Trained, known_scenes: list[quality.Layers]
) -> None:
    around = [(scene, agreement.around_foreground(trained, scene, "")) for scene in known_scenes[::2]]
    assert np.mean([agreement.foreground_kept(*pair) for pair in around]) > 18


def test_additional_prompts_say_what_each_layer_shows(trained: Trained) -> None:
    given = {"fg_additional_prompt": "lemon", "bg_additional_prompt": "night"}
    made = agreement.frames(
        trained, "layer_sd15_joint", "", 1, blend_additional_prompt="lemon, night", **given
    )
    middle = made.foreground[52:76, 52:76, :3].mean((0, 1))
    assert middle[:2].min() > 0.6 > middle[2]
    assert made.background[:32].mean() < 0.4
