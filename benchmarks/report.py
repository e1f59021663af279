"""What every benchmark shares: paired rounds, peak memory, a table for the console, a JSON for the record."""

from __future__ import annotations

import argparse
import ctypes
import gc
import importlib.metadata
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

RESULTS = Path(__file__).with_name("results")
PACKAGES = ("torch", "numpy", "opencv-python", "opencv-python-headless", "safetensors", "gradio", "Pillow")


def parser(description: str | None, rounds: int = 7) -> argparse.ArgumentParser:
    """Return an argument parser with the options that every benchmark has."""
    made = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--rounds", type=int, default=rounds, help="how often each is run, in turn")
    made.add_argument("--device", default="cpu")
    made.add_argument("--threads", type=int, default=0, help="CPU threads, all by default")
    made.add_argument(
        "--json", type=Path, help="where to write the figures, benchmarks/results/NAME.json by default"
    )
    return made


def parse(made: argparse.ArgumentParser) -> argparse.Namespace:
    """Read the command line and use as many CPU threads as it says."""
    chosen = made.parse_args()
    if chosen.threads:
        torch.set_num_threads(chosen.threads)
    return chosen


def machine(device: str = "cpu") -> dict[str, Any]:
    """Say what this runs on: processor, cores, accelerator."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    told = {"processor": _processor(), "cores": cores, "threads": torch.get_num_threads()}
    if torch.device(device).type == "cuda":
        told["device"] = torch.cuda.get_device_name(device)
    return {**told, "system": f"{platform.system()} {platform.machine()}"}


def versions() -> dict[str, str]:
    """Say with which Python and packages, of those that are installed."""
    found = {"Python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def seconds(run: Callable[[], object], device: str = "cpu") -> float:
    """Time one run, with everything that it started on the device."""
    _synchronise(device)
    begin = time.perf_counter()
    run()
    _synchronise(device)
    return time.perf_counter() - begin


def paired(
    rounds: int, runs: Mapping[str, Callable[[], object]], device: str = "cpu", warm_up: int = 1
) -> dict[str, list[float]]:
    """Time all of them in turn, round after round, so that what slows the machine meets each alike.

    Every other round goes backwards. `warm_up` rounds before are not counted.
    """
    times: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(-warm_up, rounds):
        names = list(runs)
        for name in names if number % 2 == 0 else reversed(names):
            taken = seconds(runs[name], device)
            if number >= 0:
                times[name].append(taken)
    return times


def _synchronise(device: str) -> None:
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)


@dataclass
class Peak:
    """By how many MB memory rose above what was held before; None where the system does not tell."""

    megabytes: float | None = None


@contextmanager
def peak_memory(device: str = "cpu") -> Iterator[Peak]:
    """Measure a block: allocated memory of an accelerator, else resident memory of this process (Linux)."""
    peak = Peak()
    gc.collect()
    if torch.device(device).type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        yield peak
        peak.megabytes = (torch.cuda.max_memory_allocated(device) - before) / 1e6
        return
    try:
        # what was freed, but not given back to the system, would hide what comes
        ctypes.CDLL(None).malloc_trim(0)
        # 5 has the system forget the highest value so far
        Path("/proc/self/clear_refs").write_text("5")
        resident = status("VmRSS")
    except (OSError, AttributeError, TypeError):
        yield peak
        return
    yield peak
    peak.megabytes = max(0.0, status("VmHWM") - resident)


def status(name: str) -> float:
    """Read a value of this process in MB from /proc/self/status: VmRSS is resident now, VmHWM at most."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise OSError(f"no {name} in /proc/self/status")


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Write a median with its range: 0.52 (0.49 to 0.60)."""
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


@dataclass
class Report:
    """A benchmark's figures, printed as they come. `name` is that of its module."""

    name: str
    device: str = "cpu"
    settings: Mapping[str, Any] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        for told in (machine(self.device), versions(), self.settings):
            print(", ".join(f"{name} {value}" for name, value in told.items()))

    def compare(
        self,
        what: str,
        ours: Sequence[float],
        plain: Sequence[float],
        ours_peak: Peak | None = None,
        plain_peak: Peak | None = None,
        **more: Any,
    ) -> None:
        """Add a row: seconds of ours and of the plain procedure, round by round, their ratio, peak memory.

        Below 1 ours is faster. `more` is anything else worth a column.
        """
        ratios = [one / other for one, other in zip(ours, plain, strict=True)]
        row = {
            "what": what,
            "ours_seconds": statistics.median(ours),
            "plain_seconds": statistics.median(plain),
            "ratio": statistics.median(ratios),
            "ratio_range": [min(ratios), max(ratios)],
            "rounds": len(ratios),
        }
        for key, peak in (("ours_peak_mb", ours_peak), ("plain_peak_mb", plain_peak)):
            if peak is not None and peak.megabytes is not None:
                row[key] = round(peak.megabytes, 1)
        text = f"ours {row['ours_seconds']:.4g} s, plain {row['plain_seconds']:.4g} s, ratio {spread(ratios)}"
        self._add({**row, **more}, f"{what}: {text}", {**row, **more})

    def figure(self, what: str, **columns: Any) -> None:
        """Add a row of figures without a counterpart."""
        self._add({"what": what, **columns}, f"{what}:", columns)

    def _add(self, row: dict[str, Any], text: str, columns: Mapping[str, Any]) -> None:
        self.rows.append(row)
        said = {"what", "ours_seconds", "plain_seconds", "ratio", "ratio_range", "rounds"}
        rest = ", ".join(f"{key} {_short(value)}" for key, value in columns.items() if key not in said)
        print(f"{text} {rest}".rstrip(), flush=True)

    def write(self, path: Path | None = None) -> Path:
        """Write everything as JSON, to benchmarks/results/NAME.json by default; return where."""
        path = path or RESULTS / f"{self.name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        content = {
            "benchmark": self.name,
            "machine": machine(self.device),
            "versions": versions(),
            "settings": dict(self.settings),
            "rows": self.rows,
        }
        path.write_text(json.dumps(content, indent=1, default=str) + "\n")
        return path


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
