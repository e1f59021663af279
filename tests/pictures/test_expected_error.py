"""The errors to a known picture, by their formulas on whole arrays."""

from __future__ import annotations

import numpy as np
import pytest

from lib_layerdiffusion.pictures import sample
from lib_layerdiffusion.pictures.expected_error import BACKGROUND_MEAN, BACKGROUND_SQUARE, errors
from lib_layerdiffusion.pictures.png import Raster


def test_errors_are_those_of_the_formulas() -> None:
    random = np.random.default_rng(3)
    true = np.frombuffer(sample.transparent(48, 32).values, np.uint8).reshape(32, 48, 4)
    other = (true + random.normal(0, 20, true.shape)).clip(0, 255).round().astype(np.uint8)
    found = errors(Raster(48, 32, 4, other.tobytes()), Raster(48, 32, 4, true.tobytes()))
    a, b = other / 255, true / 255
    solid = true[..., 3] == 255
    assert found.alpha == pytest.approx(np.abs(a - b)[..., 3].mean())
    assert found.colour == pytest.approx(np.abs(a - b)[solid][:, :3].mean())
    shift = (a - b)[solid].mean(0)
    assert found.red == pytest.approx(shift[0] - (shift[1] + shift[2]) / 2)
    shown = a[..., 3:] * (2 * a[..., :3] - 1) - b[..., 3:] * (2 * b[..., :3] - 1)
    away = (a - b)[..., 3:]
    mean, square = np.array(BACKGROUND_MEAN), np.array(BACKGROUND_SQUARE)
    assert found.expected == pytest.approx((shown**2 - 2 * mean * shown * away + square * away**2).mean())


def test_the_expected_error_is_the_mean_over_backgrounds() -> None:
    """Laid over many drawn backgrounds of those moments, pictures differ by as much."""
    random = np.random.default_rng(4)
    true = np.frombuffer(sample.transparent(24, 24).values, np.uint8).reshape(24, 24, 4)
    other = (true + random.normal(0, 40, true.shape)).clip(0, 255).astype(np.uint8)
    found = errors(Raster(24, 24, 4, other.tobytes()), Raster(24, 24, 4, true.tobytes()))
    mean, square = np.array(BACKGROUND_MEAN), np.array(BACKGROUND_SQUARE)
    a, b = other / 255, true / 255
    total = 0.0
    for _ in range(400):
        back = mean + np.sqrt(square - mean**2) * random.normal(size=(24, 24, 3))
        over = [x[..., 3:] * (2 * x[..., :3] - 1) + (1 - x[..., 3:]) * back for x in (a, b)]
        total += float(((over[0] - over[1]) ** 2).mean())
    assert found.expected == pytest.approx(total / 400, rel=0.02)


def test_a_picture_is_no_way_from_itself() -> None:
    drawn = sample.transparent(128, 128)
    assert errors(drawn, drawn).psnr > 80
