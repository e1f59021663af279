"""Cleaning and moving the transparency: what goes, and what stays."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from lib_layerdiffusion.pictures import alpha
from lib_layerdiffusion.pictures.arithmetic import Uint8Image
from lib_layerdiffusion.pictures.geometry import visible_box
from tests.helpers.drawn import coloured, disc, hairy

SIDE = 512
SPECKS, HOLES = 0.005, 0.03


def test_a_veil_goes_and_nothing_else() -> None:
    levels = np.tile(np.arange(256, dtype=np.uint8), (4, 1))
    cleaned = alpha.clean_veil(coloured(levels), 3)
    assert cleaned[0, :4, 3].tolist() == [0, 0, 0, 0]
    assert np.array_equal(cleaned[:, 4:], coloured(levels)[:, 4:])
    assert np.array_equal(cleaned[..., :3], coloured(levels)[..., :3])


def test_black_and_white_point_stretch_what_is_between() -> None:
    levels = np.arange(256, dtype=np.uint8)[None]
    curved = alpha.curve(coloured(levels), 8, 208)[0, :, 3]
    assert (curved[:9] == 0).all()
    assert (curved[9:] > 0).all()
    assert (curved[208:] == 255).all()
    assert curved[108] == 128
    assert (np.diff(curved.astype(int)) >= 0).all()


def test_the_box_of_what_is_visible_after_the_curve_is_that_above_its_black_point() -> None:
    faint = np.maximum(disc(SIDE, 100), np.full((SIDE, SIDE), 8, np.uint8))
    picture = coloured(np.asarray(cv2.GaussianBlur(faint, (0, 0), 4), np.uint8))
    curved = alpha.curve(picture, 8, 255)
    assert visible_box(picture) == (0, SIDE, 0, SIDE)
    assert visible_box(curved) == visible_box(picture, 8)
    cleaned = alpha.clean_veil(picture, 8)
    assert visible_box(cleaned) == visible_box(cleaned, 8) == visible_box(picture, 8)


def planted(picture: Uint8Image, places: list[tuple[int, int]], radius: int) -> Uint8Image:
    result = picture.copy()
    for x, y in places:
        result[..., 3] = np.maximum(result[..., 3], disc(SIDE, radius, x, y))
    return result


def test_planted_specks_go_and_loose_hair_stays() -> None:
    head = coloured(hairy(SIDE))
    corners = [(12, 12), (490, 30), (20, 480), (500, 500), (60, 20)]
    assert np.array_equal(alpha.remove_specks(planted(head, corners, 5), SPECKS), head)
    assert alpha.remove_specks(head, SPECKS) is head


def test_a_faint_rim_goes_with_its_speck_and_a_veil_connects_nothing() -> None:
    head = coloured(disc(SIDE, 120))
    speck = disc(SIDE, 4, 40, 40)
    rim = np.where(disc(SIDE, 9, 40, 40) > 0, 2, 0).astype(np.uint8)
    dirty = head.copy()
    dirty[..., 3] = np.maximum(np.maximum(dirty[..., 3], speck), rim)
    assert np.array_equal(alpha.remove_specks(dirty, SPECKS), head)
    dirty[..., 3] = np.maximum(dirty[..., 3], 2)
    cleaned = alpha.remove_specks(dirty, SPECKS)
    assert cleaned[40, 40, 3] == 0
    assert cleaned[20, 20, 3] == 2


def test_islands_of_about_the_size_of_the_subject_stay() -> None:
    birds = coloured(np.maximum(disc(SIDE, 60, 120, 120), disc(SIDE, 40, 380, 380)))
    assert alpha.remove_specks(birds, SPECKS) is birds


@pytest.mark.parametrize("share", [0.0005, 0.002, 0.01])
def test_planted_holes_go(share: float) -> None:
    whole = coloured(disc(SIDE, 180))
    radius = np.sqrt(share * SIDE * SIDE / np.pi)
    broken = whole.copy()
    for x, y in ((200, 200), (310, 300)):
        broken[..., 3] = np.minimum(broken[..., 3], 255 - disc(SIDE, radius, x, y))
    broken[broken[..., 3] == 0, :3] = 127
    filled = alpha.fill_holes(broken, HOLES)
    assert np.array_equal(filled[..., 3], whole[..., 3])
    shows = whole[..., 3] > 0
    assert np.abs(filled[shows].astype(int) - whole[shows]).max() <= 24
    untouched = shows & (broken[..., 3] == whole[..., 3])
    assert np.array_equal(filled[untouched], broken[untouched])


def ring() -> Uint8Image:
    return disc(SIDE, 60) - np.minimum(disc(SIDE, 60), disc(SIDE, 36))


def mug() -> Uint8Image:
    body = np.zeros((SIDE, SIDE), np.uint8)
    body[160:400, 120:320] = 255
    handle = disc(SIDE, 60, 330, 270)
    handle -= np.minimum(handle, disc(SIDE, 30, 350, 270))
    return np.maximum(body, handle)


def lattice(pitch: int, bar: int) -> Uint8Image:
    rows, columns = np.mgrid[:SIDE, :SIDE]
    bars = (rows % pitch < bar) | (columns % pitch < bar)
    inside = (abs(rows - 256) < 200) & (abs(columns - 256) < 200)
    return (bars & inside).astype(np.uint8) * 255


@pytest.mark.parametrize(
    "shape",
    [ring(), mug(), lattice(32, 6), lattice(24, 12), lattice(40, 20), lattice(12, 3)],
    ids=["ring", "handle", "lattice", "even lattice", "coarse lattice", "fine lattice"],
)
def test_true_holes_stay(shape: Uint8Image) -> None:
    picture = coloured(shape)
    assert alpha.fill_holes(picture, HOLES) is picture


def test_glass_is_no_hole() -> None:
    bottle = np.maximum(
        disc(SIDE, 180) - np.minimum(disc(SIDE, 180), disc(SIDE, 20)), disc(SIDE, 22) // 3 * 2
    )
    picture = coloured(bottle)
    assert alpha.fill_holes(picture, HOLES) is picture


@pytest.mark.parametrize("distance", [0.3, 1, 2.5, -0.5, -3])
def test_an_edge_moves_by_tenths_of_a_pixel(distance: float) -> None:
    edge = np.zeros((40, 200), np.uint8)
    edge[:, :100] = 255
    moved = alpha.choke(coloured(edge), distance)
    width = moved[20, :, 3].astype(float).sum() / 255
    assert abs(width - (100 - distance)) < 0.02


def test_what_an_edge_moved_outwards_shows_is_coloured_like_the_subject() -> None:
    picture = coloured(disc(SIDE, 100))
    picture[picture[..., 3] == 0, :3] = (0, 255, 0)
    wider = alpha.choke(picture, -3)
    shows = (wider[..., 3] > 0) & (picture[..., 3] == 0)
    assert shows.sum() > 1000
    assert np.abs(wider[shows, :3].astype(int) - coloured(disc(SIDE, 100))[shows, :3]).max() < 16


def test_feathering_softens_the_edge_where_it_is() -> None:
    edge = np.zeros((60, 200), np.uint8)
    edge[:, :100] = 255
    soft = alpha.feather(coloured(edge), 8)[30, :, 3].astype(float)
    assert 4 < ((soft > 25) & (soft < 230)).sum() < 16
    assert abs(soft.sum() / 255 - 100) < 0.2
    assert soft[0] == 255
    assert soft[-1] == 0


@pytest.mark.parametrize("level", [0, 255])
def test_pictures_without_an_edge_stay(level: int) -> None:
    picture = coloured(np.full((20, 30), level, np.uint8))
    for step in (
        alpha.clean_veil(picture, 8),
        alpha.curve(picture, 8, 250),
        alpha.remove_specks(picture, SPECKS),
        alpha.fill_holes(picture, HOLES),
        alpha.choke(picture, 2.5),
        alpha.choke(picture, -2.5),
        alpha.feather(picture, 5),
    ):
        assert step is picture
