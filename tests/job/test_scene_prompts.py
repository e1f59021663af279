"""What additional prompts may hold, and which prompt each pass puts them before."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from torch import Tensor

from lib_layerdiffusion.errors import UnsupportedMethod
from miniature.webui.host import MiniatureHost
from miniature.webui.processing import Processing
from tests.helpers.jobs import arguments
from tests.helpers.sd15_jobs import ALONE, JOINT, Generate, colours


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The texts of every call for conditions."""
    texts: list[list[str]] = []
    encode = MiniatureHost.encode_prompts

    def encode_prompts(self: MiniatureHost, p: Processing, given: Sequence[str]) -> Tensor:
        texts.append(list(given))
        return encode(self, p, given)

    monkeypatch.setattr(MiniatureHost, "encode_prompts", encode_prompts)
    return texts


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a [red:blue:0.5] beach", "cannot hold prompt editing or AND, as that of the background does"),
        ("a [red|blue] beach", "cannot hold prompt editing or AND"),
        ("a beach AND a pier", "cannot hold prompt editing or AND"),
        ("a beach <lora:sand:0.8>", "cannot hold a LoRA or the like, as that of the background does"),
    ],
)
def test_an_additional_prompt_is_plain_text(generate15: Generate, text: str, sentence: str) -> None:
    with pytest.raises(UnsupportedMethod, match=sentence) as caught:
        generate15(arguments(JOINT, bg_additional_prompt=text))
    assert text in str(caught.value)


def test_what_no_layer_of_the_method_uses_is_not_looked_at(generate15: Generate) -> None:
    args = arguments(ALONE, bg_additional_prompt="a [red:blue:0.5] beach")
    assert generate15(args).images[0].mode == "RGBA"


def test_the_prompt_of_the_highres_pass_is_plain_too(generate15: Generate) -> None:
    args = arguments(JOINT, bg_additional_prompt="a beach")
    with pytest.raises(UnsupportedMethod, match=r'prompt editing or AND in "a \[cup:lamp:0.5\]"'):
        generate15(args, enable_hr=True, hr_scale=1, hr_prompt="a [cup:lamp:0.5]")
    # without a highres pass it plays no part
    assert len(generate15(args, hr_prompt="a [cup:lamp:0.5]").images) == 3


def test_each_pass_puts_additional_prompts_before_its_own_prompt(
    generate15: Generate, encoded: list[list[str]]
) -> None:
    args = arguments(JOINT, bg_additional_prompt="a beach")
    hires = {"enable_hr": True, "hr_scale": 1, "batch_size": 2}
    result = generate15(args, prompt=["a cup", "a lamp"], hr_prompt=["gold", "tin"], **hires)
    assert encoded[0] == ["a beach, a cup", "a beach, a lamp"]
    assert encoded[-1] == ["a beach, gold", "a beach, tin"]
    same = generate15(args, prompt=["a cup", "a lamp"], **hires)
    assert encoded[-1] == ["a beach, a cup", "a beach, a lamp"]
    assert len(result.images) == 6
    assert (colours(result) != colours(same)).any(axis=(1, 2, 3)).all()
