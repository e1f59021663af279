"""Scenes whose layers fit together: the trained SD1.5 miniature through the extension's own path.

Bounds lie between what was measured (miniature/README.md) and what broken code gives.
"""

from __future__ import annotations

import numpy as np
import pytest

from lib_layerdiffusion.methods import SD15
from miniature import measure
from miniature import measure_joint as joint
from miniature.demo import METHOD, Trained

ALONE = METHOD["layer_sd15_transparent_attn"].label


@pytest.fixture(scope="module")
def known_scenes() -> list[measure.Layers]:
    return measure.scenes(Trained())


@pytest.fixture(scope="module")
def trained() -> Trained:
    return Trained(SD15)


@pytest.fixture(scope="module")
def scenes_together(trained: Trained) -> list[joint.Frames]:
    return [joint.together(trained, *named) for named in measure.NAMED]


@pytest.fixture(scope="module")
def scenes_around(trained: Trained, known_scenes: list[measure.Layers]) -> list[joint.Frames]:
    return [joint.around_foreground(trained, scene) for scene in known_scenes]


@pytest.fixture(scope="module")
def scenes_before(trained: Trained, known_scenes: list[measure.Layers]) -> list[joint.Frames]:
    return [joint.before_background(trained, scene) for scene in known_scenes]


def test_generated_pictures_are_transparent_around_an_opaque_subject(trained: Trained) -> None:
    made = [measure.generated(trained, p, seed, method=ALONE) for p in measure.SOLID for seed in (1, 2)]
    assert np.mean([one.border < 0.05 and one.middle > 0.95 for one in made]) >= 0.95


def test_pictures_are_opaque_without_the_layer_model(trained: Trained) -> None:
    for prompt in measure.SOLID:
        assert measure.generated(trained, prompt, 1, method=ALONE, weight=0.0).all > 0.98, prompt


def test_layers_made_together_are_one_scene(scenes_together: list[joint.Frames]) -> None:
    own = [joint.agreement(made) for made in scenes_together]
    others = [*scenes_together[1:], scenes_together[0]]
    mixed = [
        joint.agreement(made, background=other.background)
        for made, other in zip(scenes_together, others, strict=True)
    ]
    assert np.mean(own) > 20
    assert np.mean(own) > np.mean(mixed) + 8
    assert max(map(joint.border, scenes_together)) < 0.05


def test_a_background_is_made_for_a_foreground(
    known_scenes: list[measure.Layers], scenes_around: list[joint.Frames]
) -> None:
    pairs = list(zip(known_scenes, scenes_around, strict=True))
    assert np.mean([joint.foreground_kept(scene, made) for scene, made in pairs]) > 20
    assert np.mean([joint.agreement(made, measure.as_float(scene.foreground)) for scene, made in pairs]) > 19


def test_a_foreground_is_made_for_a_background(
    known_scenes: list[measure.Layers], scenes_before: list[joint.Frames]
) -> None:
    pairs = list(zip(known_scenes, scenes_before, strict=True))
    assert np.mean([joint.background_kept(scene, made) for scene, made in pairs]) > 20
    assert np.mean([joint.agreement(made, background=scene.background) for scene, made in pairs]) > 19
    assert max(joint.border(made) for made in scenes_before) < 0.05


def test_additional_prompts_say_what_each_layer_shows(trained: Trained) -> None:
    given = {"fg_additional_prompt": "lemon", "bg_additional_prompt": "night"}
    made = joint.frames(trained, "layer_sd15_joint", "", 1, blend_additional_prompt="lemon, night", **given)
    middle = made.foreground[52:76, 52:76, :3].mean((0, 1))
    assert middle[:2].min() > 0.6 > middle[2]
    assert made.background[:32].mean() < 0.4
