"""How far the passes of a decode are from one another, whatever their number."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lib_layerdiffusion.transparency.voting import Votes, vote

PIXEL, LATENT = torch.zeros(1, 3, 256, 256), torch.zeros(1, 4, 32, 32)


def noisy(deviation: float, seed: int = 1) -> object:
    """Stands in for a decoder that is as far off as that in every pixel, each time in another way."""
    generator = torch.Generator().manual_seed(seed)

    def decode(pixel: Tensor, latent: Tensor) -> Tensor:
        return 0.5 + deviation * torch.randn(pixel.shape[0], 4, *pixel.shape[-2:], generator=generator)

    return decode


def apart(deviation: float, **votes: object) -> list[float]:
    told: list[float] = []
    vote(noisy(deviation), PIXEL, LATENT, Votes(**votes, apart=told.append))  # type: ignore[arg-type]
    return told


def test_it_is_the_same_for_every_number_of_passes() -> None:
    """What eight are from their lower middle: 1.27 deviations."""
    for given in ({"passes": 8}, {"passes": 4}, {"passes": 2}, {"adaptive": True}):
        assert apart(0.02, **given) == [pytest.approx(1.2711 * 0.02, rel=0.02)], given
    assert apart(0.04, passes=8) == [pytest.approx(2 * apart(0.02, passes=8)[0], rel=0.01)]


def test_an_interrupted_decode_tells_it_of_what_it_has() -> None:
    for stop in (2, 3, 5, 7):
        given = {"passes": 8, "each": lambda done, stop=stop: done == stop}
        assert apart(0.02, **given) == [pytest.approx(1.2711 * 0.02, rel=0.03)], stop


def test_passes_that_agree_are_not_apart_and_one_has_nothing_to_differ_from() -> None:
    assert apart(0.0, passes=8) == [0]
    assert apart(0.02, passes=1) == []
