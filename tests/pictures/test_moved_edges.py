"""A picture painted again by a model without transparency: its alpha follows, the backdrop comes off."""

from __future__ import annotations

import numpy as np
import pytest

from lib_layerdiffusion.pictures import backdrop
from lib_layerdiffusion.pictures.moved_edges import follow, reach
from miniature.measure.repaints import (
    BACKDROPS,
    Repaint,
    alpha_error,
    expected_error,
    over_black_and_white,
    put_back,
    repaints,
)

SIDE = 160


@pytest.fixture(scope="module", params=BACKDROPS)
def painted(request: pytest.FixtureRequest) -> list[Repaint]:
    return list(repaints(request.param, SIDE, moves=(0, 1, 2)))


def test_alpha_follows_what_moved_and_stays_where_nothing_did(painted: list[Repaint]) -> None:
    moved: list[tuple[float, float]] = []
    for one in painted:
        before, after = (alpha_error(put_back(one, strength), one.right) for strength in (0, 1))
        if one.moved:
            moved.append((before, after))
            assert after < before + 0.05, one.subject
        else:
            assert after < before + 0.3, one.subject
    means, worsts = np.mean(moved, axis=0), np.max(moved, axis=0)
    assert means[1] < 0.8 * means[0]
    assert worsts[1] < 0.8 * worsts[0]


def test_there_is_less_of_a_rim_than_when_alpha_is_put_back_plainly(painted: list[Repaint]) -> None:
    plain = [put_back(one, 0, unmixed=False) for one in painted]
    ours = [put_back(one, 1) for one in painted]
    for error in (expected_error, over_black_and_white):
        before, after = (
            np.mean([error(picture, one.right) for picture, one in zip(made, painted, strict=True)])
            for made in (plain, ours)
        )
        assert after < 0.85 * before


def test_following_nothing_leaves_every_byte_of_alpha() -> None:
    for one in repaints("grey", SIDE, moves=(2,)):
        assert np.array_equal(put_back(one, 0)[..., 3], one.given[..., 3])


def test_inside_and_outside_stay_whatever_was_painted() -> None:
    rng = np.random.default_rng(0)
    alpha = np.zeros((96, 96), np.uint8)
    alpha[24:72, 24:72] = 255
    shown = np.where(alpha[..., None] > 0, 200, 40).astype(np.uint8).repeat(3, axis=2)
    found = follow(alpha, shown, rng.integers(0, 256, (96, 96, 3), np.uint8), 1, 1.0)
    away = reach(96, 96, 1.0)
    assert (found[24 + away : 72 - away, 24 + away : 72 - away] == 255).all()
    outside = np.ones((96, 96), bool)
    outside[24 - away : 72 + away, 24 - away : 72 + away] = False
    assert (found[outside] == 0).all()


@pytest.mark.parametrize("alpha", [0, 100, 255])
@pytest.mark.parametrize("size", [(1, 1), (1, 40), (7, 3), (300, 1)])
def test_any_size_and_evenly_transparent_pictures(alpha: int, size: tuple[int, int]) -> None:
    rgba = np.full((*size, 4), alpha, np.uint8)
    behind = backdrop.bled(rgba)
    shown = backdrop.laid_on(rgba, behind)
    planes = np.ascontiguousarray(rgba[..., 3])
    assert np.array_equal(follow(planes, shown, shown, 1, 0.5), planes)
    found = backdrop.taken_off(shown, planes, behind)
    assert found.shape == rgba.shape
    if alpha:
        assert np.abs(found[..., :3].astype(int) - rgba[..., :3]).max() <= 2


def test_a_larger_picture_and_more_denoising_let_edges_move_further() -> None:
    assert reach(512, 512, 0.3) < reach(512, 512, 0.7) < reach(1024, 2048, 0.7)


def test_colours_bled_over_an_empty_picture_are_grey() -> None:
    rgba = np.zeros((9, 9, 4), np.uint8)
    assert (backdrop.laid_on(rgba, backdrop.bled(rgba)) == 127).all()


def test_a_backdrop_that_was_painted_on_does_not_show() -> None:
    rgba = np.zeros((64, 64, 4), np.uint8)
    rgba[20:44, 20:44] = 250, 60, 60, 255
    behind = backdrop.plain((127, 127, 127), 64, 64)
    painted = backdrop.laid_on(rgba, behind)
    painted[:10] = 0, 255, 0
    found = backdrop.taken_off(painted, np.ascontiguousarray(rgba[..., 3]), behind)
    assert (found[..., 3] == rgba[..., 3]).all()
    assert (found[20:44, 20:44] == rgba[20:44, 20:44]).all()
