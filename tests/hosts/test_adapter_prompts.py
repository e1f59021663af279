"""Which prompts the adapters call plain."""

from __future__ import annotations

import re

import pytest

from tests.helpers.stub_hosts import Stubbed

SCHEDULES = {
    "a cup, (gold:1.2) [small]": [[20, "a cup, (gold:1.2) [small]"]],
    "a [cup:lamp:0.5]": [[10, "a cup"], [20, "a lamp"]],
    "a [cup:lamp:30]": [[20, "a cup"]],
    "a [cup:lamp:1.5]": [[20, "a cup"]],
    "a cup AND a lamp": [[20, "a cup AND a lamp"]],
    "a cup BAND a lamp": [[20, "a cup BAND a lamp"]],
}
"""What the parser of every host answers for 20 steps."""


@pytest.mark.parametrize("text", SCHEDULES)
def test_a_plain_prompt_is_the_same_text_at_every_step(stubbed: Stubbed, text: str) -> None:
    parser = stubbed.modules["modules.prompt_parser"]
    parser.re_AND = re.compile(r"\bAND\b")
    parser.get_learned_conditioning_prompt_schedules = lambda prompts, steps: [SCHEDULES[prompts[0]]]
    plain = text in ("a cup, (gold:1.2) [small]", "a cup BAND a lamp")
    assert stubbed.adapter.is_plain_prompt(stubbed.job(), text) == plain
