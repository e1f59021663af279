"""The foreground's own colours, on pictures whose colours and alpha are known exactly."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from lib_layerdiffusion.pictures.arithmetic import Uint8Image
from lib_layerdiffusion.pictures.bleed import bleed
from lib_layerdiffusion.pictures.decontaminate import decontaminate
from lib_layerdiffusion.pictures.geometry import Box, placed
from miniature.measure.quality import held_out
from tests.helpers.drawn import coloured, disc, over

SIDE = 256


def smooth_noise(seed: int) -> np.ndarray:
    coarse = np.random.default_rng(seed).uniform(0, 255, (8, 8, 3)).astype(np.float32)
    return np.clip(cv2.resize(coarse, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC), 0, 255)


BACKGROUNDS: dict[str, Callable[[int], np.ndarray | int]] = {
    "white": lambda seed: 255,
    "grey": lambda seed: 127,
    "noise": smooth_noise,
}


def mixed(truth: Uint8Image, background: np.ndarray | int) -> Uint8Image:
    """The same alpha, with the colours that it has over the background."""
    return np.dstack([np.rint(over(truth, background)).astype(np.uint8), truth[..., 3]])


def enlarged(picture: Uint8Image) -> Uint8Image:
    """By premultiplied colour, so that it stays its own at the edge."""
    share = picture[..., 3:].astype(np.float32) / 255
    values = np.dstack([picture[..., :3] * share, share * 255])
    values = np.asarray(cv2.resize(values, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)).clip(0, 255)
    colour = values[..., :3] / np.maximum(values[..., 3:] / 255, 1e-6)
    return np.rint(np.dstack([colour.clip(0, 255), values[..., 3]])).astype(np.uint8)


@pytest.fixture(scope="module")
def pictures() -> list[Uint8Image]:
    return [enlarged(picture) for picture in list(held_out().values())[::2]]


def edge_error(found: Uint8Image, truth: Uint8Image) -> float:
    """Mean difference of colours where 0.02 < alpha < 0.98, in levels."""
    band = (truth[..., 3] > 0.02 * 255) & (truth[..., 3] < 0.98 * 255)
    return float(np.abs(found[band, :3].astype(float) - truth[band, :3]).mean())


@pytest.mark.parametrize("name", BACKGROUNDS)
def test_a_background_is_taken_out_of_the_edge(name: str, pictures: list[Uint8Image]) -> None:
    before, after = [], []
    for number, truth in enumerate(pictures):
        given = mixed(truth, BACKGROUNDS[name](number))
        found = decontaminate(given)
        before.append(edge_error(given, truth))
        after.append(edge_error(found, truth))
        assert np.array_equal(found[..., 3], given[..., 3])
        opaque = truth[..., 3] == 255
        assert np.array_equal(found[opaque], given[opaque])
        assert np.array_equal(decontaminate(found), found)
    assert np.mean(before) > 20
    assert np.mean(after) < 9
    assert np.mean(after) < np.mean(before) / 2.5


@pytest.mark.parametrize("hidden", [0, 127, 255])
def test_clean_colours_stay_whatever_lies_under_the_transparency(
    hidden: int, pictures: list[Uint8Image]
) -> None:
    changed = []
    for truth in pictures:
        given = truth.copy()
        given[given[..., 3] == 0, :3] = hidden
        found = decontaminate(given)
        visible = given[..., 3] > 0
        changed.append(np.abs(found[visible].astype(int) - given[visible]).mean())
    assert np.median(changed) == 0
    assert np.mean(changed) < 0.2


def test_strength_is_a_share_of_the_way() -> None:
    given = mixed(coloured(np.asarray(cv2.GaussianBlur(disc(SIDE, 90), (0, 0), 3), np.uint8)), 255)
    band = (given[..., 3] > 10) & (given[..., 3] < 245)
    none, half, full = (decontaminate(given, one)[band, :3].astype(float) for one in (0, 0.5, 1))
    assert np.array_equal(none, given[band, :3])
    assert np.abs(half - (none + full) / 2).max() <= 1
    assert np.abs(full - none).mean() > 20


def test_a_picture_once_done_is_known_after_bleeding_and_cutting() -> None:
    done = decontaminate(mixed(coloured(disc(SIDE, 80.5)), 255))
    bled = bleed(done)
    assert decontaminate(bled) is bled
    cut = placed(done, Box(37, 219, 41, 215))
    assert decontaminate(cut) is cut


@pytest.mark.parametrize("alpha", [0, 90, 255])
@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (33, 1), (7, 130)])
def test_without_an_edge_or_without_a_background_nothing_changes(shape: tuple[int, int], alpha: int) -> None:
    picture = coloured(np.full(shape, alpha, np.uint8))
    assert decontaminate(picture) is picture
