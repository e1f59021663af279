"""Work that takes long: a bar on the console, a line in the page, and a way to stop it."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from tqdm import tqdm

from lib_layerdiffusion.errors import Interrupted


class Watch(Protocol):
    """Whoever watches the work: a WebUI's page and its Interrupt button."""

    def report(self, text: str, fraction: float | None) -> None:
        """Show a line, and how much is done (0 to 1) where that is known. An empty line: nothing to show."""
        ...

    def interrupted(self) -> bool:
        """True from the moment the user asked to stop everything."""
        ...


class NobodyWatches:
    """For work outside a WebUI; Ctrl+C stops it."""

    def report(self, text: str, fraction: float | None) -> None:
        """Nobody looks."""

    def interrupted(self) -> bool:
        return False


class Progress:
    """Bytes done of one file: `text` with amount, speed and time left, at most five times a second."""

    def __init__(self, watch: Watch, label: str, total: int, done: int = 0) -> None:
        self._watch = watch
        self._label = label
        self._reported = 0.0
        self._bar = tqdm(
            total=total or None,
            initial=done,
            desc=label,
            unit="B",
            unit_scale=True,
            file=sys.stderr,
            dynamic_ncols=True,
            mininterval=0.5,
            leave=False,
        )
        # tqdm averages over what a bar shows; the page has no bar of its own on a console that hides it
        self._started, self._initial, self._done = time.monotonic(), done, done

    def advance(self, count: int) -> None:
        """Count `count` more bytes. Raises Interrupted when the user asked to stop."""
        self._done += count
        self._bar.update(count)
        now = time.monotonic()
        if now - self._reported >= 0.2:
            self._reported = now
            total = self._bar.total
            self._watch.report(self.text(), min(self._done / total, 1.0) if total else None)
        check(self._watch, self._label)

    def text(self) -> str:
        """For example "downloading x.safetensors: 312 of 743 MB, 12.3 MB/s, 0:35 left"."""
        total = self._bar.total
        amount = f"{self._done / 1e6:.0f}" + (f" of {total / 1e6:.0f} MB" if total else " MB")
        seconds = time.monotonic() - self._started
        rate = (self._done - self._initial) / seconds if seconds > 0 else 0.0
        if rate <= 0:
            return f"{self._label}: {amount}"
        left = f", {tqdm.format_interval((total - self._done) / rate)} left" if total else ""
        return f"{self._label}: {amount}, {rate / 1e6:.1f} MB/s{left}"

    def close(self) -> None:
        self._bar.close()
        self._watch.report("", None)


@contextmanager
def progress(watch: Watch, label: str, total: int, done: int = 0) -> Iterator[Progress]:
    """Show the progress of a block that handles `total` bytes, `done` of them already (0: not known)."""
    shown = Progress(watch, label, total, done)
    try:
        yield shown
    finally:
        shown.close()


def check(watch: Watch, doing: str) -> None:
    """Raise Interrupted when the user asked to stop."""
    if watch.interrupted():
        raise Interrupted(f"LayerDiffuse was interrupted while {doing}.")
