"""Pressing Interrupt, Skip and the like at a certain moment of a job in the miniature WebUI."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from miniature.webui.patcher import Patcher
from miniature.webui.state import state
from tests.helpers.scripts import OtherScript

BUTTONS = ("interrupted", "skipped", "stopping_generation")


class PressBefore(OtherScript):
    """Presses a button before the sampling pass of this number, counted from 1 through the whole job."""

    def __init__(self, button: str, number: int = 1) -> None:
        self.button = button
        self.number = number
        self.passes = 0
        self.asked = 0

    def process_before_every_sampling(self, p: Any, *args: Any, **kwargs: Any) -> None:
        self.passes += 1
        if self.passes == self.number:
            setattr(state, self.button, True)


def press_after(monkeypatch: pytest.MonkeyPatch, button: str, evaluations: int) -> list[int]:
    """Press a button when the model was asked so often; the returned list has an entry for each time."""
    evaluate: Callable[..., Any] = Patcher.evaluate
    asked: list[int] = []

    def counted(self: Patcher, *args: Any, **kwargs: Any) -> Any:
        result = evaluate(self, *args, **kwargs)
        asked.append(1)
        if len(asked) == evaluations:
            setattr(state, button, True)
        return result

    monkeypatch.setattr(Patcher, "evaluate", counted)
    return asked
