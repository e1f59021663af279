"""What others did to a finished picture: changes are added to its own colours, paintings stay as they are."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import cv2
import numpy as np
import pytest
from PIL import Image, ImageFilter

from benchmarks import pictures
from lib_layerdiffusion.pictures.arithmetic import Uint8Image, pad_colour
from lib_layerdiffusion.pictures.edits import carry_edit
from miniature.measure.quality import held_out
from tests.helpers.jobs import picture

OWN, ON_GREY = (255, 200, 0, 128), (192, 164, 64)
SIDE = 96
NAMES = ("feather", "swan", "jar", "spouting-whale")
BOX = slice(20, 70), slice(12, 60)


def flat(colour: tuple[int, ...], side: int = 16) -> Uint8Image:
    return np.full((side, side, len(colour)), colour, np.uint8)


def real(name: str) -> tuple[Uint8Image, Uint8Image]:
    """A picture with soft edges, and what a VAE makes of it: on grey, with some noise."""
    small = np.asarray(Image.fromarray(held_out()[name]).convert("RGBA").resize((SIDE, SIDE), 3))
    bled = (pad_colour(small) * 255).round().astype(np.uint8)
    rgba = np.dstack([np.where(small[..., 3:] > 0, small[..., :3], bled), small[..., 3]])
    alpha = rgba[..., 3:] / 255
    noise = cv2.GaussianBlur(np.random.default_rng(1).normal(0, 6, (SIDE, SIDE, 3)), (0, 0), 1)
    before = rgba[..., :3] * alpha + 127 * (1 - alpha) + noise
    return rgba, before.round().clip(0, 255).astype(np.uint8)


def soft(rgba: Uint8Image) -> np.ndarray:
    return (rgba[..., 3] > 8) & (rgba[..., 3] < 247)


@pytest.mark.parametrize("levels", [8, 40, 63])
def test_a_recolouring_is_added_to_the_own_colour(levels: int) -> None:
    own, before = flat(OWN), flat(ON_GREY)
    result = carry_edit(own, before, (before + levels).astype(np.uint8))
    assert (result == flat((255, 200 + min(levels, 55), levels, 128))).all()


@pytest.mark.parametrize("side", [8, 24, 32])
def test_another_size_keeps_the_own_colour(side: int) -> None:
    assert (carry_edit(flat(OWN), flat(ON_GREY), flat(ON_GREY, side)) == flat(OWN, side)).all()


def test_rounding_is_no_change() -> None:
    own, before = flat(OWN), flat(ON_GREY)
    assert carry_edit(own, before, before) is own
    assert carry_edit(own, before, before + np.uint8(1)) is own


def by_pillow(change: ImageFilter.Filter) -> Callable[[Uint8Image], Uint8Image]:
    return lambda image: np.asarray(Image.fromarray(image).filter(change))


def by_numbers(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Uint8Image], Uint8Image]:
    return lambda image: change(image.astype(np.float32)).round().clip(0, 255).astype(np.uint8)


def enlarged(method: Image.Resampling, side: int = 2 * SIDE) -> Callable[[Uint8Image], Uint8Image]:
    return lambda image: np.asarray(Image.fromarray(image).resize((side, side), method))


def match_histogram(image: Uint8Image) -> Uint8Image:
    """As colour correction does: the levels of each channel get those of another picture, rank by rank."""
    other = np.sort(real("swan")[1].reshape(-1, 3), axis=0)
    channels = []
    for n in range(3):
        ranks = np.searchsorted(np.sort(real("feather")[1][..., n].ravel()), image[..., n].ravel())
        channels.append(other[ranks.clip(0, len(other) - 1), n].reshape(image.shape[:2]))
    return np.dstack(channels)


CHANGES: dict[str, tuple[Callable[[Uint8Image], Uint8Image], float]] = {
    "sharpened": (by_pillow(ImageFilter.SHARPEN), 11),
    "unsharp mask": (by_pillow(ImageFilter.UnsharpMask(2, 60, 3)), 9),
    "blurred": (by_pillow(ImageFilter.GaussianBlur(0.6)), 5),
    "brighter": (by_numbers(lambda image: image + 40), 1),
    "warmer": (by_numbers(lambda image: image * np.array([1.15, 1, 0.85])), 5),
    "gamma": (by_numbers(lambda image: 255 * (image / 255) ** 0.8), 6),
    "more contrast": (by_numbers(lambda image: (image - 127) * 1.2 + 127), 9),
    "twice, bilinear": (enlarged(Image.Resampling.BILINEAR), 5),
    "twice, lanczos": (enlarged(Image.Resampling.LANCZOS), 5),
    "twice, nearest": (enlarged(Image.Resampling.NEAREST), 11),
    "one and a half": (enlarged(Image.Resampling.BICUBIC, SIDE * 3 // 2), 5),
    "half": (enlarged(Image.Resampling.LANCZOS, SIDE // 2), 8),
}


@pytest.mark.parametrize("change", CHANGES)
def test_no_grey_creeps_into_soft_edges(change: str) -> None:
    """As if the change had been made to the own colours, on a picture without any grey."""
    apply, bound = CHANGES[change]
    errors, on_grey = [], []
    for name in NAMES:
        rgba, before = real(name)
        after = apply(before)
        result = carry_edit(rgba, before, after)
        expected = apply(np.ascontiguousarray(rgba[..., :3])).astype(int)
        assert result.shape[:2] == expected.shape[:2]
        errors.append(np.abs(result[..., :3] - expected)[soft(result)].mean())
        on_grey.append(np.abs(after - expected)[soft(result)].mean())
    assert np.mean(errors) < min(bound, 0.5 * np.mean(on_grey)), (errors, on_grey)


def test_colour_correction_leaves_soft_edges_near_their_colour() -> None:
    rgba, before = real("feather")
    after = match_histogram(before)
    moved = carry_edit(rgba, before, after)[..., :3].astype(int) - rgba[..., :3]
    expected = after.astype(int) - before
    at = soft(rgba) & ((rgba[..., :3] + expected).clip(0, 255) == rgba[..., :3] + expected).all(2)
    assert at.sum() > 100
    assert np.abs(moved - expected)[at].mean() < 3


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("face", ["flat", "other"])
def test_what_was_painted_over_is_what_was_painted(name: str, face: str) -> None:
    rgba, before = real(name)
    after = before.copy()
    after[BOX] = (220, 160, 130) if face == "flat" else real("sloth")[1][30:80, 30:78]
    result = carry_edit(rgba, before, after)
    inside = np.zeros((SIDE, SIDE), bool)
    inside[BOX] = True
    assert (result[~inside] == rgba[~inside]).all()
    assert (result[..., 3] == rgba[..., 3]).all()
    seen = inside & (rgba[..., 3] > 8)
    off = np.abs(result[..., :3].astype(int) - after).max(2)
    # where the painting happens to have about the colour before, nothing was painted
    assert off[seen].mean() < 3
    at_rim = off[inside & soft(rgba) & (np.abs(after.astype(int) - before).max(2) > 16)]
    assert at_rim.size == 0 or at_rim.mean() < 8


def test_a_flat_painting_in_a_flat_place_is_what_was_painted() -> None:
    """Nothing but its border tells it from a brighter picture."""
    own, before = flat(OWN, 64), flat(ON_GREY, 64)
    after = before.copy()
    after[20:40, 30:50] = 220, 160, 90
    expected = own.copy()
    expected[20:40, 30:50, :3] = 220, 160, 90
    np.testing.assert_array_equal(carry_edit(own, before, after), expected)


def test_there_is_no_threshold() -> None:
    """Ever stronger painting: the result follows in small steps."""
    rgba, before = real("feather")
    face = real("sloth")[1].astype(np.float32)
    results = [
        carry_edit(rgba, before, (before + (face - before) * share).round().astype(np.uint8)).astype(int)
        for share in np.linspace(0, 1, 65)
    ]
    steps = [np.abs(b - a)[soft(rgba)].mean() for a, b in itertools.pairwise(results)]
    assert max(steps) < 8


@pytest.mark.parametrize(
    ("handed_on", "expected"),
    [
        ((192, 164, 64, 255), OWN),
        ((200, 172, 72, 255), (255, 208, 8, 128)),
        ((0, 0, 0, 0), (255, 200, 0, 0)),
        ((192, 164, 64, 100), (255, 200, 0, 100)),
        ((96, 82, 32, 128), OWN),
        ((255, 200, 0, 128), OWN),
        ((10, 90, 250, 128), (10, 90, 250, 128)),
    ],
    ids=["opaque", "brighter", "cleared", "cut out", "multiplied", "own colours", "repainted"],
)
def test_an_alpha_that_another_script_hands_on_is_used(
    handed_on: tuple[int, ...], expected: tuple[int, ...]
) -> None:
    assert (carry_edit(flat(OWN), flat(ON_GREY), flat(handed_on)) == flat(expected)).all()
    assert (carry_edit(flat(OWN), flat(ON_GREY), flat(handed_on, 32)) == flat(expected, 32)).all()


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 9), (9, 1), (67, 130), (2050, 70), (3, 140_000)])
@pytest.mark.parametrize("strength", [24, 256])
def test_edits_are_those_of_the_plain_formula(height: int, width: int, strength: int) -> None:
    """Also where a picture is worked on in several parts; a mean may be rounded in another order."""
    generator = np.random.default_rng(height + width)
    rgba, other = generator.integers(0, 256, (2, height, width, 4), dtype=np.uint8)
    before = np.ascontiguousarray(rgba[..., :3])
    change = np.where(other[..., 3:] > 128, other[..., :3].astype(int) % strength, 0)
    after = (before + change - 3).clip(0, 255).astype(np.uint8)
    ours, plain = carry_edit(rgba, before, after), pictures.carry_edit(rgba, before, after)
    off = np.abs(ours.astype(int) - plain)
    assert off.max() <= 1
    assert (off > 0).mean() < 0.001


def test_nothing_that_was_handed_over_is_changed() -> None:
    rgba, after = picture(), picture(width=60, height=50)
    before = np.ascontiguousarray(rgba[::-1, :, :3])
    kept = rgba.copy(), before.copy(), after.copy()
    carry_edit(rgba, before, after)
    carry_edit(rgba, before, np.ascontiguousarray(rgba[..., [1, 2, 0, 3]]))
    for one, was in zip((rgba, before, after), kept, strict=True):
        np.testing.assert_array_equal(one, was)
