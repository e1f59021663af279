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


class Layered:
    """A network of two layers, the second widened by what is merged; and its own weights."""

    def __init__(self) -> None:
        self.network: Any = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Conv2d(1, 1, 1, bias=False))
        self.merged = {name: weight for name, weight in self.network.named_parameters()}
        narrow = torch.full((1, 1, 1, 1), 3.0)
        self.merged["1.weight"] = self.network[1].weight = torch.nn.Parameter(torch.ones(1, 2, 1, 1))
        self.own = OwnWeights(self.network, {"0.bias": torch.zeros(2), "1.weight": narrow})

    def is_merged(self) -> bool:
        return all(self.network.get_parameter(name) is weight for name, weight in self.merged.items())


def test_below_the_level_the_layers_own_weights_are_there_for_each_call() -> None:
    layered = Layered()
    sampling = Sampling(sigma_end=5, own=layered.own)
    assert len(layered.own) == 2
    for sigma in (10, 4, 10, 1):
        x = torch.zeros(3, 4, 2, 2)
        before = {"of": "ours", "another's": "kept"}
        step = torch.full((3,), float(sigma))
        model, _, _, _, cond, _, options, _ = sampling.modifier(
            "ours", x, step, None, [{"model_conds": {}}], 5.0, before, 1
        )
        assert model == "ours"
        assert options["another's"] == "kept"
        assert ("c_concat" in cond[0]["model_conds"]) == (sigma == 10)
        assert layered.is_merged()
        if sigma == 10:
            assert options == before
            continue
        seen = options["model_function_wrapper"](
            lambda x, t, **c: (
                layered.network[0].bias.tolist(),
                float(layered.network[1](x[:, :1]).max()),
                t,
                c,
            ),
            {"input": torch.ones(1, 1, 2, 2), "timestep": 7, "c": {"y": 1}},
        )
        assert seen == ([0, 0], 3.0, 7, {"y": 1})
        assert layered.is_merged()
        assert before == {"of": "ours", "another's": "kept"}
    # the host was never asked to take anything back
    assert sampling.prepared == []


def test_another_extensions_wrapper_stays_around_the_call() -> None:
    layered = Layered()
    sampling = Sampling(sigma_end=5, own=layered.own)

    def theirs(apply_model: Any, arguments: Any) -> Any:
        assert not layered.is_merged()
        return "theirs", apply_model(arguments["input"], arguments["timestep"], **arguments["c"])

    x = torch.zeros(1, 4, 2, 2)
    *_, options, _ = sampling.modifier(
        "ours", x, torch.tensor([1.0]), None, [], 5.0, {"model_function_wrapper": theirs}, 1
    )
    arguments = {"input": "x", "timestep": 1, "c": {}}
    assert options["model_function_wrapper"](lambda x, t: x, arguments) == ("theirs", "x")
    assert layered.is_merged()


def test_a_call_that_fails_leaves_the_merged_weights() -> None:
    layered = Layered()

    def broken(*given: Any, **more: Any) -> Any:
        assert not layered.is_merged()
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        layered.own.around(None)(broken, {"input": 1, "timestep": 1, "c": {}})
    assert layered.is_merged()
    layered.network[1].register_parameter("weight", None)
    # what cannot be put back where it was is not taken away either
    with pytest.raises(AttributeError), layered.own.in_place():
        pass
    assert layered.network[0].bias is layered.merged["0.bias"]


def test_own_weights_are_brought_once_and_freed_after_sampling() -> None:
    asked: list[Any] = []
    sampling = Sampling(sigma_end=5)
    sampling.modifier._own_weights = lambda patcher, x: asked.append(patcher) or Layered().own  # type: ignore[func-returns-value]
    for sigma in (10.0, 1.0, 10.0, 1.0):
        sampling.modifier("ours", torch.zeros(1, 4, 2, 2), torch.tensor([sigma]), None, [], 5.0, {}, 1)
    assert asked == [sampling.ours]
    sampling.modifier.release()
    assert sampling.modifier._own is None


def test_calls_below_the_level_are_paused_and_not_awaited() -> None:
    calls = AwaitedCalls()
    sampling = Sampling(sigma_end=5, calls=calls, own=OwnWeights(torch.nn.Identity(), {}))
    paused = []
    for sigma in (10.0, 1.0, 1.0, 10.0):
        calls.came()
        sampling.modifier("ours", torch.zeros(1, 4, 2, 2), torch.tensor([sigma]), None, [], 5.0, {}, 1)
        paused.append(calls.paused)
    assert paused == [False, True, True, False]


def test_worn_weights_are_there_above_the_level_alone() -> None:
    layered = Layered()
    sampling = Sampling(sigma_end=5, own=OwnWeights(torch.nn.Identity(), {}))
    sampling.modifier._worn = lambda patcher, x: layered.own
    for sigma in (10.0, 1.0):
        model, *_, options, _ = sampling.modifier(
            "ours", torch.zeros(1, 4, 2, 2), torch.tensor([sigma]), None, [], 5.0, {}, 1
        )
        assert model == "ours"
        call = options["model_function_wrapper"]
        seen = call(lambda x, t: layered.is_merged(), {"input": 1, "timestep": 1, "c": {}})
        assert seen == (sigma < 5)
        assert layered.is_merged()


def test_where_nothing_can_be_worn_the_plain_patcher_takes_over() -> None:
    plain = SimpleNamespace(model="plain", model_options={"of": "plain"})
    sampling = Sampling(sigma_end=0)
    sampling.modifier._worn, sampling.modifier._plain = lambda patcher, x: None, plain
    for _ in range(2):
        model, *_, options, _ = sampling.modifier(
            "ours", torch.zeros(1, 4, 2, 2), torch.tensor([9.0]), None, [], 5.0, {}, 1
        )
        assert (model, options) == ("plain", {"of": "plain"})
    assert sampling.prepared == ["plain"]
