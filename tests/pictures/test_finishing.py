"""All steps together: their order, what comes back unchanged, outlines and shadows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from lib_layerdiffusion.pictures.additions import Outline, Shadow, shadow_layer, with_outline, with_shadow
from lib_layerdiffusion.pictures.finishing import Steps, finish, premultiplied
from lib_layerdiffusion.pictures.geometry import Canvas, visible_box
from tests.helpers.drawn import coloured, disc

BLACK = (0, 0, 0, 255)
ALL = Steps(
    veil=3,
    black=4,
    white=250,
    specks=0.005,
    holes=0.03,
    choke=0.5,
    feather=1.5,
    decontaminate=1,
    bleed=True,
    trim=4,
    canvas=Canvas(400, 400),
    outline=Outline(6, (255, 255, 255, 255)),
    shadow=Shadow(4, 6, 10, (0, 0, 0, 128)),
    premultiply=True,
)

alphas = arrays.arrays(
    np.uint8,
    st.tuples(st.integers(1, 12), st.integers(1, 12)),
    elements=st.sampled_from([0, 0, 0, 1, 3, 60, 130, 200, 254, 255, 255]),
)
cleaning = st.builds(
    Steps,
    veil=st.sampled_from([0, 3, 60]),
    specks=st.sampled_from([0, 0.05, 0.3]),
    holes=st.sampled_from([0, 0.05, 0.5]),
    decontaminate=st.sampled_from([0, 0.5, 1]),
    bleed=st.booleans(),
    trim=st.sampled_from([None, 0, 2]),
)


@settings(max_examples=300)
@given(alphas, st.integers(0, 2**20), cleaning)
def test_steps_that_only_clean_change_nothing_the_second_time(
    alpha: np.ndarray, seed: int, steps: Steps
) -> None:
    colours = np.random.default_rng(seed).integers(0, 256, (*alpha.shape, 3), dtype=np.uint8)
    once = finish(np.dstack([colours, alpha]), steps)
    assert np.array_equal(finish(once, steps), once)


@settings(max_examples=30)
@given(alphas)
def test_with_everything_off_the_picture_comes_back_as_it_is(alpha: np.ndarray) -> None:
    picture = coloured(alpha)
    before = picture.copy()
    assert finish(picture, Steps()) is picture
    assert Steps().do_nothing
    assert np.array_equal(picture, before)


def test_a_picture_that_was_handed_in_is_never_changed() -> None:
    picture = coloured(disc(300, 80))
    before = picture.copy()
    assert finish(picture, ALL).shape == (400, 400, 4)
    assert np.array_equal(picture, before)


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (3, 2)])
@pytest.mark.parametrize("level", [0, 90, 255])
def test_the_smallest_pictures_go_through_all_steps(shape: tuple[int, int], level: int) -> None:
    finished = finish(coloured(np.full(shape, level, np.uint8)), ALL)
    assert finished.shape == (400, 400, 4)
    assert (visible_box(finished) is None) == (level == 0)


def test_trimming_comes_after_cleaning() -> None:
    picture = coloured(np.maximum(disc(200, 40), 2))
    assert finish(picture, Steps(trim=0)).shape == (200, 200, 4)
    assert max(finish(picture, Steps(trim=0, veil=3)).shape[:2]) <= 82


def test_what_is_put_around_a_bled_picture_is_bled() -> None:
    full = coloured(np.full((10, 10), 255, np.uint8))
    padded = finish(full, Steps(bleed=True, canvas=Canvas(30, 30)))
    assert padded[..., :3].min() > 0


def test_an_outline_is_as_wide_as_it_says_and_lies_under_the_picture() -> None:
    picture = coloured(disc(300, 60))
    drawn = with_outline(picture, Outline(8, (255, 0, 0, 255)))
    assert drawn.shape == picture.shape
    row = drawn[150, :, 3].astype(float) / 255
    assert abs(row.sum() - (2 * 60 + 1 + 2 * 8)) < 1.5
    assert drawn[150, 150 - 64].tolist() == [255, 0, 0, 255]
    opaque = picture[..., 3] == 255
    assert np.array_equal(drawn[opaque], picture[opaque])


@pytest.mark.parametrize("grow", [True, False])
def test_additions_get_the_room_that_they_need_unless_there_is_a_canvas(grow: bool) -> None:
    picture = coloured(np.full((50, 80), 255, np.uint8))
    outlined = with_outline(picture, Outline(5, BLACK), grow)
    shadowed = with_shadow(picture, Shadow(10, 20, 0, BLACK), grow)
    if grow:
        assert visible_box(outlined, 200) == (2, 60, 2, 90)
        assert outlined.shape == (62, 92, 4)
        assert shadowed.shape == (70, 90, 4)
    else:
        assert outlined.shape == shadowed.shape == picture.shape


def test_a_shadow_is_the_blurred_shape_moved_and_below() -> None:
    picture = coloured(disc(200, 40))
    shadow = Shadow(30, 10, 8, (10, 20, 30, 128))
    layer = shadow_layer(picture, shadow)
    rows, columns = np.nonzero(layer[..., 3] > 64)
    assert abs(columns.mean() - 130) < 1
    assert abs(rows.mean() - 110) < 1
    assert layer[..., 3].max() == 128
    assert (layer[..., :3] == (10, 20, 30)).all()
    drawn = with_shadow(picture, shadow)
    opaque = picture[..., 3] == 255
    assert np.array_equal(drawn[opaque], picture[opaque])
    assert drawn[110, 155].tolist() == layer[110, 155].tolist()


def test_premultiplied_colours_are_those_times_alpha() -> None:
    picture = coloured(np.tile(np.arange(256, dtype=np.uint8), (2, 1)))
    result = premultiplied(picture)
    assert np.array_equal(result[..., 3], picture[..., 3])
    exact = picture[..., :3] * (picture[..., 3:] / 255)
    assert np.abs(result[..., :3] - exact).max() <= 0.51


def test_steps_say_whether_pixels_move() -> None:
    assert not replace(ALL, trim=None, canvas=None, outline=None, shadow=None).move_pixels
    assert Steps(trim=0).move_pixels
