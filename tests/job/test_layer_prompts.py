"""A prompt for each layer, before the scene's own."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from lib_layerdiffusion.errors import UnsupportedMethod
from lib_layerdiffusion.methods import Method
from miniature.webui.host import MiniatureHost
from miniature.webui.processing import Processing
from tests.helpers.jobs import arguments
from tests.helpers.sd15_jobs import JOINT, SD15_METHODS, Generate, colours, name, near


def test_additional_prompt_goes_to_its_layer_before_the_scene_prompt(
    generate15: Generate, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []
    encode = MiniatureHost.encode_prompts

    def spy(self: MiniatureHost, p: Processing, texts: Any) -> torch.Tensor:
        asked.append(list(texts))
        return encode(self, p, texts)

    monkeypatch.setattr(MiniatureHost, "encode_prompts", spy)
    plain = colours(generate15(arguments(JOINT), prompt=["a cup", "a lamp"], batch_size=2))
    assert asked == []
    result = generate15(
        arguments(JOINT, bg_additional_prompt="a beach"), prompt=["a cup", "a lamp"], batch_size=2
    )
    assert asked == [["a beach, a cup", "a beach, a lamp"]]
    assert (colours(result) != plain).any(axis=(1, 2, 3)).all()
    assert "layerdiffusion_bg_additional_prompt: a beach" in result.infotexts[0]


def test_prompt_equal_to_the_scene_prompt_changes_nothing(
    generate15: Generate, monkeypatch: pytest.MonkeyPatch
) -> None:
    def same(self: MiniatureHost, p: Processing, texts: Any) -> torch.Tensor:
        return p.webui.base.text([text.partition(", ")[2] for text in texts])[0]

    monkeypatch.setattr(MiniatureHost, "encode_prompts", same)
    plain = colours(generate15(arguments(JOINT)))
    assert near(
        colours(generate15(arguments(JOINT, fg_additional_prompt="x", blend_additional_prompt="y"))), plain
    )


def test_longer_additional_prompt(generate15: Generate, monkeypatch: pytest.MonkeyPatch) -> None:
    def repeated(self: MiniatureHost, p: Processing, texts: Any) -> torch.Tensor:
        context = p.webui.base.text([text.partition(", ")[2] for text in texts])[0]
        return context.repeat(1, 3, 1)

    plain = colours(generate15(arguments(JOINT)))
    monkeypatch.setattr(MiniatureHost, "encode_prompts", repeated)
    assert near(colours(generate15(arguments(JOINT, fg_additional_prompt="x"))), plain)


@pytest.mark.parametrize("prompt", ["a [cup:lamp:0.5]", "a cup AND a lamp"])
def test_additional_prompts_and_changing_prompts_are_refused(generate15: Generate, prompt: str) -> None:
    with pytest.raises(UnsupportedMethod, match="cannot be combined with prompt editing or AND"):
        generate15(arguments(JOINT, bg_additional_prompt="a beach"), prompt=prompt)
    assert len(generate15(arguments(JOINT), prompt=prompt).images) == 3


@pytest.mark.parametrize("method", SD15_METHODS, ids=name)
def test_without_negative_prompt(generate15: Generate, method: Method) -> None:
    prompts = {"bg_additional_prompt": "a beach"} if method is JOINT else {}
    result = generate15(arguments(method, **prompts), cfg_scale=1.0)
    assert len(result.images) == method.frames
