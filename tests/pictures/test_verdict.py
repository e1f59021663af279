"""The numbers behind a verdict, and the errors to a known picture, by their formulas on whole arrays."""

from __future__ import annotations

import numpy as np
import pytest

from lib_layerdiffusion.pictures import sample, verdict
from lib_layerdiffusion.pictures.png import Raster


def of(alpha: np.ndarray) -> verdict.Shares:
    height, width = alpha.shape
    return verdict.shares(alpha.astype(np.uint8).tobytes(), width, height)


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


@pytest.mark.parametrize(
    ("level", "frame", "word"),
    [(0, 0, "failed"), (8, 8, "failed"), (255, 255, "failed"), (255, 0, "clean"), (60, 0, "clean")],
)
def test_verdicts(level: int, frame: int, word: str) -> None:
    alpha = np.full((64, 64), frame)
    alpha[16:48, 16:48] = level
    assert verdict.verdict(of(alpha)).word == word


def test_a_subject_that_is_cut_off_is_weak_only_where_it_covers_much_of_the_border() -> None:
    alpha = np.zeros((64, 64))
    alpha[40:, 20:44] = 255
    assert verdict.verdict(of(alpha)).word == "clean"
    alpha[20:] = 255
    assert verdict.verdict(of(alpha)).word == "weak"


def test_a_veil_that_a_published_check_lets_pass_is_clean() -> None:
    """One that asks for a mean of 32 at most in the frame, and a middle that stands out."""
    alpha = np.full((64, 64), 32)
    alpha[16:48, 16:48] = 255
    assert verdict.verdict(of(alpha)).word == "clean"
    assert verdict.verdict(of(alpha + (alpha == 32) * 8)).word == "weak"


def test_errors_are_those_of_the_formulas() -> None:
    random = np.random.default_rng(3)
    true = np.frombuffer(sample.transparent(48, 32).values, np.uint8).reshape(32, 48, 4)
    other = (true + random.normal(0, 20, true.shape)).clip(0, 255).round().astype(np.uint8)
    found = verdict.errors(Raster(48, 32, 4, other.tobytes()), Raster(48, 32, 4, true.tobytes()))
    a, b = other / 255, true / 255
    solid = true[..., 3] == 255
    assert found.alpha == pytest.approx(np.abs(a - b)[..., 3].mean())
    assert found.colour == pytest.approx(np.abs(a - b)[solid][:, :3].mean())
    shift = (a - b)[solid].mean(0)
    assert found.red == pytest.approx(shift[0] - (shift[1] + shift[2]) / 2)
    shown = a[..., 3:] * (2 * a[..., :3] - 1) - b[..., 3:] * (2 * b[..., :3] - 1)
    away = (a - b)[..., 3:]
    mean, square = np.array(verdict.BACKGROUND_MEAN), np.array(verdict.BACKGROUND_SQUARE)
    assert found.expected == pytest.approx((shown**2 - 2 * mean * shown * away + square * away**2).mean())


def test_the_expected_error_is_the_mean_over_backgrounds() -> None:
    """Laid over many drawn backgrounds of those moments, pictures differ by as much."""
    random = np.random.default_rng(4)
    true = np.frombuffer(sample.transparent(24, 24).values, np.uint8).reshape(24, 24, 4)
    other = (true + random.normal(0, 40, true.shape)).clip(0, 255).astype(np.uint8)
    found = verdict.errors(Raster(24, 24, 4, other.tobytes()), Raster(24, 24, 4, true.tobytes()))
    mean, square = np.array(verdict.BACKGROUND_MEAN), np.array(verdict.BACKGROUND_SQUARE)
    a, b = other / 255, true / 255
    total = 0.0
    for _ in range(400):
        back = mean + np.sqrt(square - mean**2) * random.normal(size=(24, 24, 3))
        over = [x[..., 3:] * (2 * x[..., :3] - 1) + (1 - x[..., 3:]) * back for x in (a, b)]
        total += float(((over[0] - over[1]) ** 2).mean())
    assert found.expected == pytest.approx(total / 400, rel=0.02)


def test_drawn_pictures_have_all_that_is_to_be_measured() -> None:
    drawn = sample.transparent(128, 128)
    found = verdict.shares(drawn.alpha(), 128, 128)
    assert found.border == 0
    assert found.subject > 0.1
    assert found.see_through > 0.15
    assert len(set(drawn.alpha())) > 100
    assert verdict.errors(drawn, drawn).psnr > 80
