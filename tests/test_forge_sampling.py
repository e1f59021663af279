"""The step modifier of Forge: who samples at which noise level, and what joins the input."""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from lib_layerdiffusion.errors import UnsupportedMethod
from lib_layerdiffusion.hosts.forge_sampling import AwaitedCalls, StepModifier
from lib_layerdiffusion.hosts.own_weights import OwnWeights

CONCAT = torch.ones(1, 4, 2, 2, dtype=torch.float64)


class Sampling:
    """Two patchers and a record of which one the host was asked to make ready."""

    def __init__(
        self,
        sigma_end: float,
        concat: torch.Tensor | None = CONCAT,
        calls: AwaitedCalls | None = None,
        own: OwnWeights | None = None,
    ) -> None:
        self.original = SimpleNamespace(model="original", model_options={"of": "original"})
        self.ours = SimpleNamespace(model="ours", model_options={"of": "ours"})
        self.prepared: list[str] = []
        self.seen: list[bool] = []
        self.modifier = StepModifier(
            current=lambda: self.ours,
            original=self.original,
            sigma_end=sigma_end,
            concat=concat,
            prepare=lambda patcher, x: self.prepared.append(patcher.model),
            own_weights=lambda patcher, x: own,
            make_condition=lambda tensor: ("condition", tensor),
            seen=lambda: self.seen.append(True),
            calls=calls,
        )

    def step(self, sigma: float, uncond: bool = True) -> tuple[Any, list[Any], list[Any] | None]:
        """Return the model that samples and the conditions it gets."""
        cond = [{"model_conds": {"c_crossattn": "text"}}, {"model_conds": {"c_crossattn": "and"}}]
        negative = [{"model_conds": {"c_crossattn": "not"}}] if uncond else None
        x = torch.zeros(3, 4, 2, 2)
        result = self.modifier("ours", x, torch.full((3,), sigma), negative, cond, 5.0, {"of": "ours"}, 1)
        model, _, _, uncond_out, cond_out, scale, options, seed = result
        assert (scale, seed) == (5.0, 1)
        assert options == {"of": model}
        return model, cond_out, uncond_out


@pytest.mark.parametrize("uncond", [True, False])
def test_condition_joins_every_prompt(uncond: bool) -> None:
    model, cond, negative = Sampling(sigma_end=0).step(10, uncond)
    assert model == "ours"
    assert len(cond) == 2
    for entry in [*cond, *(negative or [])]:
        kind, tensor = entry["model_conds"]["c_concat"]
        assert kind == "condition"
        assert tensor.dtype == torch.float32
        assert "c_crossattn" in entry["model_conds"]


def test_without_condition_pictures_nothing_joins() -> None:
    _, cond, negative = Sampling(sigma_end=0, concat=None).step(10)
    assert all("c_concat" not in entry["model_conds"] for entry in [*cond, *(negative or [])])


def test_original_takes_over_strictly_below_the_level() -> None:
    sampling = Sampling(sigma_end=5)
    assert [sampling.step(sigma)[0] for sigma in (10, 5, 4.9, 1)] == ["ours", "ours", "original", "original"]
    assert sampling.prepared == ["original"]
    _, cond, negative = sampling.step(1)
    assert all("c_concat" not in entry["model_conds"] for entry in [*cond, *(negative or [])])


def test_a_sampler_that_restarts_gets_the_patch_back() -> None:
    sampling = Sampling(sigma_end=5)
    assert [sampling.step(sigma)[0] for sigma in (10, 1, 10, 1)] == ["ours", "original", "ours", "original"]
    assert sampling.prepared == ["original", "ours", "original"]


def test_cloning_a_patcher_copies_no_tensors() -> None:
    modifier = Sampling(sigma_end=5).modifier
    assert copy.deepcopy({"conditioning_modifiers": [modifier]})["conditioning_modifiers"][0] is modifier


def test_every_step_is_seen() -> None:
    sampling = Sampling(sigma_end=5)
    for sigma in (10, 1):
        sampling.step(sigma)
    assert len(sampling.seen) == 2


def test_a_place_that_was_taken_is_noticed() -> None:
    calls = AwaitedCalls()
    sampling = Sampling(sigma_end=5, calls=calls)
    # below the level nothing of ours is called
    for sigma in (1, 1, 10):
        sampling.step(sigma)
    with pytest.raises(UnsupportedMethod, match="took the place"):
        sampling.step(10)
    assert copy.deepcopy([calls])[0] is calls


def test_steps_that_another_extension_leaves_out_are_no_fault() -> None:
    calls = AwaitedCalls()
    sampling = Sampling(sigma_end=5, calls=calls)
    sampling.step(10)
    calls.came()
    for _ in range(3):
        sampling.step(10)
