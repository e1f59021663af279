"""The miniature's noise schedule and samplers."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from miniature.nets.sampling import ancestral_step, sample_euler, sample_euler_ancestral
from miniature.nets.schedule import NoiseSchedule
from tests.helpers.small_networks import normal

pytestmark = pytest.mark.usefixtures("_without_gradients")


SIGMA_AT_PERCENT = {
    0.05: 10.90732,
    0.1: 8.307171,
    0.25: 4.086081,
    0.3: 3.325069,
    0.5: 1.615580,
    0.62: 1.088952,
    0.75: 0.6951495,
    0.9: 0.3437048,
    0.999: 0.04130003,
}


def test_schedule_ends() -> None:
    schedule = NoiseSchedule()
    assert schedule.sigma_min == pytest.approx(0.0291672, rel=1e-5)
    assert schedule.sigma_max == pytest.approx(14.6146, rel=1e-5)
    assert schedule.sigmas.dtype == torch.float32


@pytest.mark.parametrize(("percent", "sigma"), SIGMA_AT_PERCENT.items())
def test_percent_to_sigma(percent: float, sigma: float) -> None:
    assert NoiseSchedule().percent_to_sigma(percent) == pytest.approx(sigma, rel=1e-5)


def test_percent_to_sigma_at_and_beyond_the_ends() -> None:
    schedule = NoiseSchedule()
    assert schedule.percent_to_sigma(0.0) == schedule.percent_to_sigma(-1.0) == 999999999.9
    assert schedule.percent_to_sigma(1.0) == schedule.percent_to_sigma(2.0) == 0.0


def test_timestep_inverts_sigma() -> None:
    schedule = NoiseSchedule()
    steps = torch.tensor([[0.0, 0.25, 17.0], [500.5, 998.9, 999.0]])
    torch.testing.assert_close(schedule.timestep(schedule.sigma(steps)), steps, rtol=1e-5, atol=2e-3)
    assert schedule.timestep(torch.tensor([1e-9, 1e9])).tolist() == [0.0, 999.0]


def test_sampling_sigmas_are_even_in_time() -> None:
    schedule = NoiseSchedule()
    sigmas = schedule.sampling_sigmas(4)
    expected = [*(schedule.sigmas[t] for t in (999, 666, 333, 0)), 0.0]
    torch.testing.assert_close(sigmas, torch.tensor(expected), rtol=1e-5, atol=0.0)


def test_input_scaling_and_denoised() -> None:
    schedule, sigma = NoiseSchedule(), torch.tensor([3.0, 0.75])
    x = torch.ones(2, 4, 2, 2)
    assert schedule.network_input(x, sigma)[:, 0, 0, 0].tolist() == pytest.approx([0.1**0.5, 0.8])
    assert schedule.denoised(x, sigma, 0.5 * x)[:, 0, 0, 0].tolist() == pytest.approx([-0.5, 0.625])


def test_ancestral_step_keeps_the_noise_level() -> None:
    down, up = ancestral_step(2.0, 1.0)
    assert up == pytest.approx(0.75**0.5)
    assert down == pytest.approx(0.5)
    assert ancestral_step(2.0, 1.0, eta=0.0) == (1.0, 0.0)
    assert ancestral_step(2.0, 0.0) == (0.0, 0.0)


def test_samplers_reach_the_target_of_a_perfect_denoiser() -> None:
    target, sigmas = normal(2, 4, 4, 4), NoiseSchedule().sampling_sigmas(8)
    seen: list[Tensor] = []
    drawn: list[int] = []

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        seen.append(sigma)
        # What is left after each step must be noise of the level that the denoiser is told.
        assert (x - target).std() == pytest.approx(float(sigma[0]), rel=0.35)
        return target

    def noise(step: int) -> Tensor:
        drawn.append(step)
        return normal(2, 4, 4, 4, seed=100 + step)

    start = target + sigmas[0] * normal(2, 4, 4, 4, seed=9)
    torch.testing.assert_close(
        sample_euler_ancestral(denoise, start, sigmas, noise), target, rtol=0, atol=1e-5
    )
    torch.testing.assert_close(sample_euler(denoise, start, sigmas), target, rtol=0, atol=1e-5)
    assert drawn == list(range(7))
    assert [float(sigma[0]) for sigma in seen] == sigmas[:-1].tolist() * 2
    assert {tuple(sigma.shape) for sigma in seen} == {(2,)}


def test_samplers_turn_noise_into_the_data_distribution() -> None:
    spread = 0.5  # data: independent normal values of this deviation, whose best denoiser is known

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        return x * spread**2 / (spread**2 + sigma[:, None, None, None] ** 2)

    sigmas = NoiseSchedule().sampling_sigmas(400)
    start = normal(8, 4, 16, 16) * sigmas[0]
    ancestral = sample_euler_ancestral(denoise, start, sigmas, lambda n: normal(8, 4, 16, 16, seed=n + 1))
    assert ancestral.std() == pytest.approx(spread, rel=0.06)
    assert sample_euler(denoise, start, sigmas).std() == pytest.approx(spread, rel=0.06)
