"""The part of a host's adapter that is about the job at hand: its progress bar and its buttons."""

from __future__ import annotations

from typing import Any

from modules import shared

BAR = ("job_count", "job_no", "sampling_steps", "sampling_step")


class WebUIState:
    def __init__(self) -> None:
        self._bar_before: dict[str, Any] = {}

    def report(self, text: str, fraction: float | None) -> None:
        state = shared.state
        state.textinfo = text or None
        if fraction is not None:
            # the page's bar shows steps of jobs
            self._bar_before = self._bar_before or {name: getattr(state, name) for name in BAR}
            for name, value in zip(BAR, (1, 0, 1000, round(1000 * fraction)), strict=True):
                setattr(state, name, value)
        elif self._bar_before:
            for name, value in self._bar_before.items():
                setattr(state, name, value)
            self._bar_before = {}

    def interrupted(self) -> bool:
        return bool(shared.state.interrupted)

    def broken_off(self) -> bool:
        return bool(shared.state.interrupted or shared.state.skipped)
