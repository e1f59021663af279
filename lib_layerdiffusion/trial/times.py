"""Seconds and memory of jobs: medians with their spread, and what one pass of a decode takes."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from lib_layerdiffusion.trial.client import Client, Refused

PASSES: tuple[int | str, ...] = (8, 4, 2, 1, "adaptive")
MEMORY = "/sdapi/v1/memory"


@dataclass
class Times:
    """Of one family at one size: seconds of each run, and bytes by what had run until then."""

    size: int
    steps: int
    off: list[float] = field(default_factory=list)
    first: list[float] = field(default_factory=list)
    again: list[float] = field(default_factory=list)
    stop_at: list[float] = field(default_factory=list)
    decode: dict[str, list[float]] = field(default_factory=dict)
    memory: dict[str, dict[str, int]] = field(default_factory=dict)

    def measure_decode(self, run: Callable[[int | str], float], rounds: int) -> None:
        """Run jobs with each number of passes in turn, so that a machine that grows slower favours none."""
        self.decode = {str(passes): [] for passes in PASSES}
        # the first with few steps may have something to prepare
        run(PASSES[-2])
        for _ in range(rounds):
            for passes in PASSES:
                self.decode[str(passes)].append(run(passes))

    def per_pass(self) -> list[float]:
        """Of each round: what seven passes more took, for one."""
        pairs = zip(self.decode.get("8", []), self.decode.get("1", []), strict=False)
        return [(eight - one) / 7 for eight, one in pairs]

    def note_memory(self, name: str, client: Client) -> None:
        """Keep what the WebUI tells of its memory, if it does."""
        try:
            told = client.get(MEMORY)
        except Refused:
            return
        found = {
            "ram_used": _number(told, "ram", "used"),
            "device_peak": _number(told, "cuda", "allocated", "peak"),
            "device_used": _number(told, "cuda", "system", "used"),
        }
        self.memory[name] = {key: value for key, value in found.items() if value}

    def as_json(self) -> dict[str, Any]:
        """Everything, with the seconds of a pass."""
        return {**asdict(self), "per_pass": self.per_pass()}


def _number(told: Any, *keys: str) -> int:
    for key in keys:
        told = told.get(key) if isinstance(told, dict) else None
    return int(told) if isinstance(told, int | float) else 0


def shown(seconds: Sequence[float]) -> str:
    """Median and range: 1.23 s (1.20 to 1.31)."""
    if not seconds:
        return "-"
    digits = 2 if max(seconds) < 10 else 1
    middle, low, high = statistics.median(seconds), min(seconds), max(seconds)
    spread = f" ({low:.{digits}f} to {high:.{digits}f})" if len(seconds) > 1 else ""
    return f"{middle:.{digits}f} s{spread}"
