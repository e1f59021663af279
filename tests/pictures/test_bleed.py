"""Colours under the transparency, which show as soon as a picture is made smaller."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from lib_layerdiffusion.pictures.arithmetic import Uint8Image
from lib_layerdiffusion.pictures.bleed import bleed
from lib_layerdiffusion.pictures.finishing import premultiplied
from miniature.measure.quality import held_out
from tests.helpers.drawn import coloured, disc, over

SMALLER = 4


def smaller(picture: Uint8Image) -> Uint8Image:
    size = picture.shape[1] // SMALLER, picture.shape[0] // SMALLER
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)


def as_premultiplied(picture: Uint8Image, background: int) -> np.ndarray:
    values = smaller(premultiplied(picture)).astype(np.float32)
    return np.asarray(values[..., :3] + background * (1 - values[..., 3:] / 255))


@pytest.mark.parametrize("background", [0, 255])
def test_made_smaller_in_straight_alpha_it_looks_as_if_premultiplied(background: int) -> None:
    errors, plain = [], []
    for picture in held_out().values():
        hidden = picture.copy()
        hidden[hidden[..., 3] == 0, :3] = 0
        right = as_premultiplied(hidden, background)
        errors.append(np.abs(over(smaller(bleed(hidden)), background) - right).mean(axis=2))
        plain.append(np.abs(over(smaller(hidden), background) - right).mean(axis=2))
    edge = np.concatenate([error[error > 0] for error in errors])
    assert np.mean(errors) < 0.3
    assert np.mean(edge) <= 2
    assert np.mean(plain) > 3 * np.mean(errors)


@pytest.mark.parametrize("background", [0, 255])
def test_a_picture_of_smooth_colours_is_right_to_two_levels(background: int) -> None:
    picture = coloured(disc(256, 91.3))
    picture[picture[..., 3] == 0, :3] = 0
    shown = over(smaller(bleed(picture)), background)
    assert np.abs(shown - as_premultiplied(picture, background)).max() <= 2


def test_nothing_that_shows_changes_and_everything_else_is_filled() -> None:
    picture = coloured(disc(100, 20, 30, 70))
    picture[picture[..., 3] == 0, :3] = (0, 255, 0)
    bled = bleed(picture)
    shows = picture[..., 3] > 0
    assert np.array_equal(bled[shows], picture[shows])
    assert np.array_equal(bled[..., 3], picture[..., 3])
    assert (np.abs(bled[..., :3].astype(int) - picture[70, 30, :3]).max(axis=2) < 40).all()
    assert np.array_equal(bleed(bled), bled)


def test_a_picture_without_anything_invisible_or_visible_stays() -> None:
    for level in (0, 1, 255):
        picture = coloured(np.full((9, 5), level, np.uint8))
        assert bleed(picture) is picture
