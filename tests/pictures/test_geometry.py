"""Cutting to what is visible, and canvases."""

from __future__ import annotations

import numpy as np
import pytest

from lib_layerdiffusion.errors import BadPicture
from lib_layerdiffusion.pictures.geometry import (
    ANCHORS,
    Box,
    Canvas,
    common_box,
    put_on_canvas,
    trim,
    visible_box,
)
from tests.helpers.drawn import coloured


def block(top: int, left: int) -> np.ndarray:
    alpha = np.zeros((40, 60), np.uint8)
    alpha[top : top + 10, left : left + 20] = 200
    return coloured(alpha)


def test_a_picture_is_cut_to_what_is_visible_and_its_margin() -> None:
    picture = block(12, 5)
    assert visible_box(picture) == Box(12, 22, 5, 25)
    assert np.array_equal(trim(picture, 0), picture[12:22, 5:25])
    assert np.array_equal(trim(picture, 3), picture[9:25, 2:28])


def test_a_margin_beyond_the_picture_is_added() -> None:
    cut = trim(block(0, 40), 4)
    assert cut.shape == (18, 28, 4)
    assert visible_box(cut) == Box(4, 14, 4, 24)
    assert np.array_equal(trim(cut, 4), cut)


def test_pictures_cut_to_a_common_box_stay_in_place() -> None:
    frames = [block(2, 3), block(20, 30), block(9, 12)]
    box = common_box(visible_box(frame) for frame in frames)
    assert box == Box(2, 30, 3, 50)
    cut = [trim(frame, 0, box) for frame in frames]
    assert {frame.shape for frame in cut} == {(28, 47, 4)}
    assert visible_box(cut[1]) == Box(18, 28, 27, 47)


def test_where_nothing_is_visible_nothing_is_cut() -> None:
    empty = coloured(np.zeros((4, 9), np.uint8))
    assert trim(empty, 2) is empty
    assert common_box([None, None]) is None


@pytest.mark.parametrize(
    ("anchor", "box"),
    [
        ("center", Box(20, 60, 20, 80)),
        ("bottom", Box(40, 80, 20, 80)),
        ("top left", Box(0, 40, 0, 60)),
        ("right", Box(20, 60, 40, 100)),
    ],
)
def test_a_picture_is_put_where_its_anchor_says(anchor: str, box: Box) -> None:
    full = coloured(np.full((40, 60), 255, np.uint8))
    placed = put_on_canvas(full, Canvas(100, 80), anchor)
    assert placed.shape == (80, 100, 4)
    assert visible_box(placed) == box
    assert np.array_equal(placed[box.top : box.bottom, box.left : box.right], full)
    assert anchor in ANCHORS


def test_a_canvas_can_be_a_multiple() -> None:
    full = coloured(np.full((40, 64), 255, np.uint8))
    assert put_on_canvas(full, Canvas(32, 32, multiple=True)).shape == (64, 64, 4)


def test_what_does_not_fit_is_said() -> None:
    full = coloured(np.full((40, 60), 255, np.uint8))
    with pytest.raises(BadPicture, match="60x40 pixels and does not fit on a canvas of 50x50"):
        put_on_canvas(full, Canvas(50, 50))
    with pytest.raises(BadPicture, match="a side may have 16384 at most"):
        trim(full, 10_000)
