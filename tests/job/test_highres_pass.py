"""The highres pass: which latents are decoded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from lib_layerdiffusion.transparency.codec import Codec
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
