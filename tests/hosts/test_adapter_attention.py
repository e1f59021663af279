"""Calls of the diffusion model and its attention, wrapped as each host allows it."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
import torch

from lib_layerdiffusion.errors import UnsupportedMethod
from tests.helpers.stub_hosts import Merged, Stubbed


def test_what_replaces_attention_is_refused(stubbed: Stubbed) -> None:
    unet = stubbed.unet()
    unet.model_options["transformer_options"]["patches_replace"] = {"attn2": {("input", 1): object()}}
    with pytest.raises(UnsupportedMethod, match="replaces the model's attention"):
        stubbed.adapter.around_calls(unet, ["0"], lambda *given: None)


def test_calls_of_the_model_are_wrapped(stubbed: Stubbed) -> None:
    """Around what another extension put there before, and noticed when one after us takes the place."""
    unet = stubbed.unet()
    log: list[Any] = []

    def earlier(apply_model: Any, arguments: Any) -> Any:
        log.append("earlier")
        return apply_model(arguments["input"], arguments["timestep"], **arguments["c"])

    @contextmanager
    def around(attentions: Any, cond_or_uncond: Any, rows: int) -> Any:
        log.append((attentions, cond_or_uncond, rows))
        yield
        log.append("after")

    unet.model_options["model_function_wrapper"] = earlier
    stubbed.adapter.around_calls(unet, ["0"], around)
    wrapper = unet.set_model_unet_function_wrapper.call_args.args[0]
    stubbed.adapter.condition(stubbed.job(unet), unet, stubbed.unet(), None, 1.0, lambda: None)
    modifier = unet.add_conditioning_modifier.call_args.args[0]
    x = torch.zeros(4, 4, 2, 2)
    call = {"input": x, "timestep": 1, "cond_or_uncond": [1, 0], "c": {"transformer_options": {}}}

    def step() -> None:
        modifier(unet.model, x, torch.tensor([8.0]), None, [], 5.0, {}, 1)

    for _ in range(2):
        step()
        assert wrapper(lambda x, t, **c: x, call) is x
    attention = unet.model.diffusion_model[0]
    assert log == [([attention], [1, 0], 4), "earlier", "after"] * 2


def test_attention_is_not_shared_below_the_level_of_stop_at(stubbed: Stubbed) -> None:
    unet = stubbed.unet()
    shared: list[bool] = []

    @contextmanager
    def around(*given: Any) -> Any:
        shared.append(True)
        yield

    stubbed.adapter.around_calls(unet, ["0"], around)
    wrapper = unet.set_model_unet_function_wrapper.call_args.args[0]
    unet.model_options["model_function_wrapper"] = wrapper
    original = Merged(stubbed).ours
    p = stubbed.job(original)
    stubbed.adapter.condition(p, unet, original, None, 0.5, lambda: None)
    modifier = unet.add_conditioning_modifier.call_args.args[0]
    x = torch.zeros(2, 4, 2, 2)
    call = {"input": x, "timestep": 1, "cond_or_uncond": [1, 0], "c": {"transformer_options": {}}}
    for sigma, times in ((8.0, 1), (6.0, 1), (6.0, 1), (8.0, 2)):
        given = modifier("model", x, torch.tensor([sigma]), None, [], 5.0, unet.model_options, 1)
        assert given[0] == "model"
        assert given[6]["model_function_wrapper"](lambda x, t, **c: x, call) is x
        assert len(shared) == times


def test_a_wrapper_that_never_calls_ours_is_noticed(stubbed: Stubbed) -> None:
    unet = stubbed.unet()
    stubbed.adapter.around_calls(unet, ["0"], lambda *given: nullcontext())
    wrapper = unet.set_model_unet_function_wrapper.call_args.args[0]
    stubbed.adapter.condition(stubbed.job(unet), unet, stubbed.unet(), None, 1.0, lambda: None)
    modifier = unet.add_conditioning_modifier.call_args.args[0]
    x = torch.zeros(4, 4, 2, 2)

    def step() -> None:
        modifier(unet.model, x, torch.tensor([8.0]), None, [], 5.0, {}, 1)

    step()
    with pytest.raises(UnsupportedMethod, match="took the place"):
        step()
    call = {"input": x, "timestep": 1, "cond_or_uncond": [1, 0], "c": {"transformer_options": {}}}
    wrapper(lambda x, t, **c: x, call)
    step()
