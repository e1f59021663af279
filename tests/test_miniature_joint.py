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
    assert np.mean(own) > 24.5
    assert np.mean(own) > np.mean(mixed) + 8
    assert max(map(joint.border, scenes_together)) < 0.05


def test_a_background_is_made_for_a_foreground(trained: Trained, known_scenes: list[measure.Layers]) -> None:
    made = [joint.around_foreground(trained, scene, scene.both) for scene in known_scenes]
    pairs = list(zip(known_scenes, made, strict=True))
    assert np.mean([joint.foreground_kept(scene, one) for scene, one in pairs]) > 23
    assert np.mean([joint.agreement(one, measure.as_float(scene.foreground)) for scene, one in pairs]) > 23


def test_a_foreground_is_made_for_a_background(trained: Trained, known_scenes: list[measure.Layers]) -> None:
    made = [joint.before_background(trained, scene, scene.both) for scene in known_scenes]
    pairs = list(zip(known_scenes, made, strict=True))
    assert np.mean([joint.background_kept(scene, one) for scene, one in pairs]) > 26
    assert np.mean([joint.agreement(one, background=scene.background) for scene, one in pairs]) > 24
    assert max(map(joint.border, made)) < 0.05


def test_a_foreground_alone_tells_what_is_to_be_kept(
    trained: Trained, known_scenes: list[measure.Layers]
) -> None:
    around = [(scene, joint.around_foreground(trained, scene, "")) for scene in known_scenes]
    assert np.mean([joint.foreground_kept(*pair) for pair in around]) > 18


def test_additional_prompts_say_what_each_layer_shows(trained: Trained) -> None:
    given = {"fg_additional_prompt": "lemon", "bg_additional_prompt": "night"}
    made = joint.frames(trained, "layer_sd15_joint", "", 1, blend_additional_prompt="lemon, night", **given)
    middle = made.foreground[52:76, 52:76, :3].mean((0, 1))
    assert middle[:2].min() > 0.6 > middle[2]
    assert made.background[:32].mean() < 0.4
