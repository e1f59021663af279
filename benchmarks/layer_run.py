"""What the layers script costs beyond its jobs, and what its steps merge into the UNet.

    python -m benchmarks.layer_run [--rounds 5] [--steps 20]

The trained miniature puts one, two and four objects into a meadow, and saves the PSD. The plain procedure
merges each step's layer file anew, as the same jobs by hand do; `memory short` is ours where the host has no
room for a second set of merged weights. Shares are of the whole run: sampling passes, the jobs around them
(VAE, transparency, saving), and what the script does between the jobs.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

from benchmarks.report import Report, paired, parse, parser, peak_memory
from lib_layerdiffusion.job import wardrobe
from miniature.webui.demo import Trained
from miniature.webui.host import MiniatureHost
from miniature.webui.patcher import Patcher

OBJECTS = ("red apple", "star", "key", "crown")


class Clock:
    """Adds up the time that calls of a function take."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            begin = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                self.seconds += time.perf_counter() - begin

        return timed


@contextmanager
def merging_anew() -> Iterator[None]:
    with mock.patch.object(wardrobe, "of", return_value=None):
        yield


@contextmanager
def memory_short() -> Iterator[None]:
    with mock.patch.object(MiniatureHost, "keep_merged", return_value=None):
        yield


def main() -> None:
    made = parser(__doc__, rounds=5)
    made.add_argument("--steps", type=int, default=20)
    chosen = parse(made)
    logging.getLogger("layerdiffuse").setLevel(logging.WARNING)
    report = Report("layer_run", settings={"steps": chosen.steps, "size": 128})
    trained = Trained()
    shared = trained.webui.original.shared

    def run(count: int) -> None:
        asked = {"objects": list(OBJECTS[:count]), "layers": "PSD"}
        trained.run_layers(asked, prompt="meadow", seed=1, steps=chosen.steps)

    def plain(count: int) -> None:
        with merging_anew():
            run(count)

    def merged(work: Callable[[int], None], count: int) -> int:
        shared.merge(Patcher(shared))
        before = shared.merged_bytes
        work(count)
        return shared.merged_bytes - before

    def short(count: int) -> None:
        with memory_short():
            run(count)

    size = sum(parameter.nbytes for parameter in shared.parameters.values())
    for count in (1, 2, 4):
        times = paired(chosen.rounds, {"ours": lambda: run(count), "plain": lambda: plain(count)})  # noqa: B023
        with peak_memory() as ours_peak:
            run(count)
        with peak_memory() as plain_peak:
            plain(count)
        report.compare(
            f"{count} objects",
            times["ours"],
            times["plain"],
            ours_peak,
            plain_peak,
            # in UNets, since what is written grows with the model
            merged=round(merged(run, count) / size, 2),
            merged_plain=round(merged(plain, count) / size, 2),
            merged_memory_short=round(merged(short, count) / size, 2),
            **shares(lambda: run(count)),  # noqa: B023
        )
    report.write(chosen.json)


def shares(run: Callable[[], None]) -> dict[str, float]:
    """Return which shares of a run's time its sampling passes, its jobs around them, and the script take."""
    whole, jobs, passes = Clock(), Clock(), Clock()
    with (
        mock.patch.object(MiniatureHost, "run_job", jobs.around(MiniatureHost.run_job)),
        mock.patch.object(Patcher, "evaluate", passes.around(Patcher.evaluate)),
    ):
        whole.around(run)()
    return {
        "share_sampling": round(passes.seconds / whole.seconds, 3),
        "share_jobs_around": round((jobs.seconds - passes.seconds) / whole.seconds, 3),
        "share_script": round(1 - jobs.seconds / whole.seconds, 3),
    }


if __name__ == "__main__":
    main()
