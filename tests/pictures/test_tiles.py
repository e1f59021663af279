"""Tiles that overlap, put together with their transparency."""

from __future__ import annotations

import numpy as np
import pytest

from lib_layerdiffusion.pictures.arithmetic import Uint8Image
from lib_layerdiffusion.pictures.tiles import combine


def tile(colour: tuple[int, int, int, int], height: int = 8, width: int = 8) -> Uint8Image:
    return np.full((height, width, 4), colour, np.uint8)


@pytest.mark.parametrize("across", [True, False])
def test_tiles_go_over_into_each_other_by_their_alpha(across: bool) -> None:
    """A clear tile's colour never shows; the alpha is that of both in proportion."""
    clear, red = tile((0, 255, 0, 0)), tile((200, 0, 0, 255))
    rows = [(0, [(0, clear), (4, red)])] if across else [(0, [(0, clear)]), (4, [(0, red)])]
    result = combine(rows, *((8, 12) if across else (12, 8)), overlap=4)
    line = result[3] if across else result[:, 3]
    assert line[:, 3].tolist() == [0, 0, 0, 0, 0, 63, 127, 191, 255, 255, 255, 255]
    assert (line[5:, :3] == (200, 0, 0)).all()


def test_tiles_of_one_picture_give_it_again() -> None:
    whole = np.random.default_rng(1).integers(1, 256, (20, 28, 4), np.uint8)
    rows = [
        (top, [(left, whole[top : top + 8, left : left + 8]) for left in (0, 5, 10, 15, 20)])
        for top in (0, 6, 12)
    ]
    result = combine(rows, 20, 28, overlap=2)
    assert np.abs(result.astype(int) - whole).max() <= 1


def test_what_lies_outside_is_cut_off() -> None:
    large = np.random.default_rng(1).integers(1, 256, (8, 8, 4), np.uint8)
    assert np.array_equal(combine([(-2, [(-3, large)])], 5, 4, overlap=2), large[2:7, 3:7])
    assert np.array_equal(combine([(0, [(2, large)])], 8, 6, overlap=0)[:, 2:], large[:, :4])


def test_no_overlap_at_all() -> None:
    left, right = tile((1, 2, 3, 4)), tile((5, 6, 7, 8))
    result = combine([(0, [(0, left), (8, right)])], 8, 16, overlap=0)
    assert np.array_equal(result, np.concatenate([left, right], axis=1))
