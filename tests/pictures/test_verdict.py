"""What is said of pictures whose truth is known, and by which numbers."""

from __future__ import annotations

import numpy as np
import pytest

from lib_layerdiffusion.pictures import sample
from lib_layerdiffusion.pictures.arithmetic import Uint8Image
from lib_layerdiffusion.pictures.measures import measure, shares_of
from lib_layerdiffusion.pictures.shares import Shares, shares
from lib_layerdiffusion.pictures.verdict import CLEAN, FAILED, WEAK, Numbers, verdict
from miniature.measure.quality import held_out, see_through
from miniature.training.backgrounds import PLACES, noise
from tests.helpers.drawn import coloured, disc

RNG = np.random.default_rng(1)
CUT_OUTS = {
    **held_out(),
    **{f"{name}, see-through": one for name, one in see_through(held_out()).items()},
}


def of(alpha: np.ndarray) -> Shares:
    height, width = alpha.shape
    return shares(alpha.astype(np.uint8).tobytes(), width, height)


def on_canvas(picture: Uint8Image) -> Uint8Image:
    return np.pad(picture, ((32, 32), (32, 32), (0, 0)))


def opaque(picture: Uint8Image) -> Uint8Image:
    behind = PLACES["meadow"](np.random.default_rng(2), *picture.shape[:2]) * 255
    share = picture[..., 3:] / np.float32(255)
    shown = picture[..., :3] * share + behind * (1 - share)
    return np.dstack([shown, np.full(picture.shape[:2], 255)]).astype(np.uint8)


def veiled(picture: Uint8Image) -> Uint8Image:
    changed = picture.copy()
    changed[..., 3] = np.maximum(picture[..., 3], 12)
    return changed


def blotched(picture: Uint8Image) -> Uint8Image:
    """Seen where it should not be, and not where it should, in patches."""
    changed = picture.copy()
    patches = noise(np.random.default_rng(3), len(picture), len(picture), 12)[..., 0] > 0.62
    changed[..., 3] = np.where(patches, 255 - picture[..., 3], picture[..., 3])
    return changed


def empty(picture: Uint8Image) -> Uint8Image:
    changed = picture.copy()
    changed[..., 3] = picture[..., 3] // 64
    return changed


def test_shares() -> None:
    alpha = np.zeros((100, 200))
    alpha[30:50, 40:60] = 255
    alpha[50:60, 40:60] = 249
    alpha[60:70, 40:60] = 9
    alpha[70:80, 40:60] = 8
    alpha[:2, :100] = 40
    frame = 100 * 200 - 96 * 196
    wanted = 200 / frame, 200 * 40 / frame / 255, 400 / 20000, 600 / 20000, 1 - 1000 / 20000
    assert of(alpha) == pytest.approx(wanted)
    assert shares_of(alpha.astype(np.uint8)) == pytest.approx(wanted)


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (3, 2), (64, 48), (51, 200)])
def test_shares_are_the_same_without_any_package(size: tuple[int, int]) -> None:
    alpha = RNG.integers(0, 256, size, np.uint8)
    assert shares_of(alpha) == pytest.approx(of(alpha))


@pytest.mark.parametrize("name", CUT_OUTS)
def test_cut_outs_are_clean_and_spoilt_ones_are_not(name: str) -> None:
    picture = on_canvas(CUT_OUTS[name])
    assert verdict(measure(picture)).text == CLEAN
    assert verdict(measure(opaque(picture))).text.startswith("failed. The background is there")
    assert verdict(measure(empty(picture))).text.startswith("failed. Nothing is visible.")
    assert verdict(measure(veiled(picture))).text.startswith("weak. A veil of alpha 12")
    assert verdict(measure(blotched(picture))).text.startswith("failed. Patches of the background")


@pytest.mark.parametrize(
    ("level", "frame", "word"),
    [(0, 0, FAILED), (8, 8, FAILED), (255, 255, FAILED), (255, 0, CLEAN), (60, 0, CLEAN), (255, 9, WEAK)],
)
def test_plain_pictures(level: int, frame: int, word: str) -> None:
    alpha = np.full((64, 64), frame)
    alpha[16:48, 16:48] = level
    assert verdict(Numbers.of(of(alpha))).word == word
    assert verdict(measure(coloured(alpha.astype(np.uint8)))).word == word


def test_a_subject_that_is_cut_off_is_weak_only_where_it_covers_much_of_the_border() -> None:
    alpha = np.zeros((64, 64), np.uint8)
    alpha[40:, 20:44] = 255
    assert verdict(measure(coloured(alpha))).word == CLEAN
    alpha[20:] = 255
    found = verdict(measure(coloured(alpha)))
    assert (found.word, found.reasons[0].what) == (WEAK, "60% of the border is covered.")


def test_what_a_published_check_lets_pass_is_clean_or_the_reason_is_said() -> None:
    """One that asks for clear corners, a mean of 32 at most in the frame, and a middle that stands out."""
    alpha = np.zeros((64, 64))
    alpha[16:48, 16:48] = 255
    alpha[44:, 20:40] = 120
    assert verdict(Numbers.of(of(alpha))).word == CLEAN
    alpha[:, 18:42] = alpha[18:42] = 100
    found = verdict(Numbers.of(of(alpha)))
    assert [reason.what for reason in found.reasons] == ["38% of the border is covered."]


def test_holes_and_specks_count_and_those_of_a_ring_and_of_hair_do_not() -> None:
    alpha = disc(256, 80)
    assert verdict(measure(coloured(alpha))).text == CLEAN
    holes = np.minimum(alpha, 255 - sum(disc(256, 5, 128 + dx, 128) for dx in (-40, 0, 40)))
    assert verdict(measure(coloured(holes))).text.startswith("weak. The subject has small holes.")
    ring = np.minimum(alpha, 255 - disc(256, 60))
    assert verdict(measure(coloured(ring))).text == CLEAN
    specks = alpha.copy()
    for place in range(20, 240, 20):
        specks[16:22, place : place + 6] = 200
    assert verdict(measure(coloured(specks))).text.startswith("weak. Specks lie around the subject.")


def test_greyness_is_that_of_what_is_hidden() -> None:
    picture = coloured(disc(64, 20))
    before = np.full((64, 64, 3), 127, np.uint8)
    before[picture[..., 3] > 0] = 255
    assert measure(picture, before).greyness == 0
    before[picture[..., 3] == 0] = (137, 107, 127)
    assert measure(picture, before).greyness == pytest.approx(10)
    assert measure(opaque(picture), before).greyness is None


def test_passes_that_disagree_are_counted_over_what_is_covered() -> None:
    picture = coloured(disc(128, 20))
    covered = (picture[..., 3] > 8).mean()
    assert measure(picture, passes_apart=0.001).passes_apart == pytest.approx(0.255 / covered)
    numbers = measure(picture)._replace(passes_apart=7.0)
    assert verdict(numbers).text.startswith("failed. What is solid and what is see-through is uncertain.")
    assert verdict(numbers._replace(passes_apart=6.0)).word == CLEAN


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (2, 3), (7, 700)])
def test_any_size(size: tuple[int, int]) -> None:
    alpha = RNG.integers(0, 256, size, np.uint8)
    assert verdict(measure(coloured(alpha), np.zeros((*size, 3), np.uint8), 0.01)).word in (
        CLEAN,
        WEAK,
        FAILED,
    )


def test_drawn_pictures_have_all_that_is_to_be_measured() -> None:
    drawn = sample.transparent(128, 128)
    found = shares(drawn.alpha(), 128, 128)
    assert found.border == 0
    assert found.subject > 0.1
    assert found.see_through > 0.15
    assert len(set(drawn.alpha())) > 100
