"""Scenes: how many a batch makes, which seeds they have, and that each replays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from lib_layerdiffusion.errors import BatchSizeMismatch
from lib_layerdiffusion.methods import Method
from miniature.webui.host import MiniatureHost
from miniature.webui.processing import Processing, WebUI
from tests.helpers.jobs import arguments, picture
from tests.helpers.sd15_jobs import BG2FG, FG2BG, JOINT, SD15_METHODS, Generate, colours, name, near

GROUPS = [FG2BG, BG2FG, JOINT]


@pytest.mark.parametrize("method", SD15_METHODS, ids=name)
def test_one_scene_is_one_picture_per_layer(generate15: Generate, method: Method) -> None:
    plain = colours(generate15(batch_size=method.frames))
    result = generate15(arguments(method))
    assert len(result.images) == method.frames
    modes = ["RGBA" if n == 0 and method.decodes_alpha else "RGB" for n in range(method.frames)]
    assert [image.mode for image in result.images] == modes
    assert len(result.extra_images) == int(method.decodes_alpha)
    assert (colours(result) != plain).any(axis=(1, 2, 3)).all()
    for image, layer in zip(result.images, method.outputs, strict=True):
        named = f"layerdiffusion_layer: {layer.value}" in image.info["parameters"]
        assert named == (method.frames > 1)


def test_layers_are_named_where_infotext_takes_no_lists(
    host15: MiniatureHost, generate15: Generate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The Forge of early 2024 writes a list as it is, into every picture."""
    monkeypatch.setattr(host15, "lists_in_infotext", False)
    written = WebUI.infotext

    def infotext(self: WebUI, p: Any) -> str:
        assert not any(isinstance(value, list) for value in p.extra_generation_params.values())
        return written(self, p)

    monkeypatch.setattr(WebUI, "infotext", infotext)
    result = generate15(arguments(JOINT), n_iter=2)
    for n, image in enumerate(result.images):
        assert f"layerdiffusion_layer: {JOINT.outputs[n % 3].value}" in image.info["parameters"]


@pytest.mark.parametrize("method", GROUPS, ids=name)
def test_scenes_do_not_depend_on_how_many_are_made(generate15: Generate, method: Method) -> None:
    frames = method.frames
    many = colours(generate15(arguments(method), n_iter=3))
    one_batch = colours(generate15(arguments(method), batch_size=3 * frames))
    assert len(many) == len(one_batch) == 3 * frames
    assert near(many, one_batch)
    for scene in range(3):
        alone = colours(generate15(arguments(method), seed=1 + scene * frames))
        assert near(many[scene * frames : (scene + 1) * frames], alone)


@pytest.mark.parametrize(
    ("method", "size", "pictures"),
    [(FG2BG, 1, 2), (FG2BG, 2, 2), (FG2BG, 3, 6), (FG2BG, 4, 4), (JOINT, 1, 3), (JOINT, 2, 6), (JOINT, 6, 6)],
)
def test_batch_size_counts_pictures_if_whole_scenes_else_scenes(
    generate15: Generate, method: Method, size: int, pictures: int
) -> None:
    assert len(generate15(arguments(method), batch_size=size).images) == pictures


@pytest.mark.parametrize("method", GROUPS, ids=name)
def test_every_picture_of_a_scene_replays_the_scene(generate15: Generate, method: Method) -> None:
    result = generate15(arguments(method), n_iter=2)
    frames = method.frames
    seeds = [int(image.info["parameters"].partition("Seed: ")[2].split(",")[0]) for image in result.images]
    assert seeds == [1] * frames + [1 + frames] * frames
    again = generate15(arguments(method), seed=seeds[-1])
    assert near(colours(again), colours(result)[frames:])
    assert near(colours(generate15(arguments(method), seed=seeds[-1], batch_size=frames)), colours(again))


def test_lists_of_prompts_are_one_per_scene(generate15: Generate) -> None:
    result = generate15(arguments(JOINT), prompt=["a cup", "a lamp"], batch_size=2)
    assert len(result.images) == 6
    cup, lamp = (
        generate15(arguments(JOINT), prompt=text, seed=s) for text, s in (("a cup", 1), ("a lamp", 4))
    )
    assert near(colours(result), np.concatenate([colours(cup), colours(lamp)]))


def test_frames_of_a_scene_share_and_scenes_do_not(generate15: Generate) -> None:
    # another seed changes the second scene alone; within a scene every layer follows
    def run(seeds: list[int]) -> np.ndarray:
        original = Processing.begin_batch

        def begin(self: Processing, iteration: int) -> None:
            original(self, iteration)
            self.seeds = list(seeds)

        Processing.begin_batch = begin  # type: ignore[method-assign]
        try:
            return colours(generate15(arguments(JOINT), batch_size=6))
        finally:
            Processing.begin_batch = original  # type: ignore[method-assign]

    first, second = run([1, 2, 3, 4, 5, 6]), run([1, 2, 3, 4, 5, 99])
    assert (first[:3] == second[:3]).all()
    assert (first[3:] != second[3:]).any(axis=(1, 2, 3)).all()


def test_img2img_starts_every_layer_from_the_picture(generate15: Generate) -> None:
    init = [Image.fromarray(picture())]
    result = generate15(arguments(JOINT), init_images=init)
    assert [image.mode for image in result.images] == ["RGBA", "RGB", "RGB"]
    two = generate15(arguments(JOINT), init_images=[*init, init[0].rotate(180)], batch_size=2)
    assert len(two.images) == 6
    assert near(colours(two)[:3], colours(result))


def test_init_pictures_that_are_no_whole_scenes(generate15: Generate) -> None:
    init = [Image.fromarray(picture())] * 2
    with pytest.raises(BatchSizeMismatch, match="got 2 pictures for scenes of 3"):
        generate15(arguments(JOINT), init_images=init, batch_size=3)
