"""The highres pass: which latents are decoded, with which weights it samples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from lib_layerdiffusion.transparency.codec import Codec
from miniature.webui.patcher import Patcher
from miniature.webui.processing import Processed, WebUI
from miniature.webui.sampler import Sampler
from tests.helpers.jobs import arguments

HIRES: dict[str, Any] = {"enable_hr": True, "hr_scale": 1, "denoising_strength": 1.0}


def test_what_is_decoded_is_the_end_of_the_highres_pass(
    webui: WebUI, generate: Callable[..., Processed], monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[Tensor] = []
    decoded: list[Tensor] = []
    run, decode = Sampler.sample_img2img, Codec.decode

    def run_sampler(self: Sampler, *args: Any, **kwargs: Any) -> Tensor:
        ended.append(run(self, *args, **kwargs))
        return ended[-1]

    def decode_latent(self: Codec, latent: Tensor, *args: Any, **kwargs: Any) -> Any:
        decoded.append(latent)
        return decode(self, latent, *args, **kwargs)

    monkeypatch.setattr(Sampler, "sample_img2img", run_sampler)
    monkeypatch.setattr(Codec, "decode", decode_latent)
    generate(arguments(), **HIRES)
    assert len(ended) == 2
    assert torch.equal(decoded[0], webui.base.vae.process_out(ended[1])[0])


def test_stop_at_ends_each_pass_at_its_level(
    webui: WebUI, generate: Callable[..., Processed], monkeypatch: pytest.MonkeyPatch
) -> None:
    level = webui.schedule.percent_to_sigma(0.5)
    passes: list[list[tuple[float, bool]]] = []
    sample, predict = Sampler.sample_img2img, webui.base.unet.forward
    sigmas: list[float] = []
    evaluate = Patcher.evaluate

    def sample_pass(self: Sampler, *args: Any, **kwargs: Any) -> Tensor:
        passes.append([])
        return sample(self, *args, **kwargs)

    def evaluate_at(self: Patcher, x: Tensor, sigma: Tensor, *args: Any) -> Tensor:
        sigmas.append(float(sigma.max()))
        return evaluate(self, x, sigma, *args)

    def weights_of_call(*args: Any, **kwargs: Any) -> Any:
        parameters = dict(webui.base.unet.named_parameters())
        patched = any(not torch.equal(parameters[name], weight) for name, weight in own.items())
        passes[-1].append((sigmas[-1], patched))
        return predict(*args, **kwargs)

    own = {name: weight.detach().clone() for name, weight in webui.base.unet.named_parameters()}
    monkeypatch.setattr(Sampler, "sample_img2img", sample_pass)
    monkeypatch.setattr(Patcher, "evaluate", evaluate_at)
    monkeypatch.setattr(webui.base.unet, "forward", weights_of_call)
    generate(arguments(ending_step=0.5), steps=4, **HIRES)
    assert len(passes) == 2
    for calls in passes:
        assert {patched for _, patched in calls} == {True, False}
        assert [patched for _, patched in calls] == [sigma >= level for sigma, _ in calls]
