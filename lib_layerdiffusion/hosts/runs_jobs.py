"""What a script of our own in the host's list needs, to run one job after the other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from PIL import Image


class RunsJobs(Protocol):
    """`p` is a host's processing object."""

    def run_job(self, p: Any) -> Any:
        """Run one job as the host does, and return its result. Raises what ended it."""
        ...

    def without_picture(self, p: Any) -> Any:
        """Return a job for txt2img with everything that `p` has in common with one; `p` stays as it is."""
        ...

    def fixed_seed(self, p: Any) -> int:
        """The seed of the first picture, chosen by chance now where `p` leaves it to chance."""
        ...

    def samplers(self) -> Sequence[str]:
        """The names of all samplers."""
        ...

    def expect_jobs(self, count: int) -> None:
        """Have the page's progress bar count this many jobs."""
        ...

    def save_result(self, p: Any, picture: Image.Image, infotext: str) -> Path | None:
        """Save a picture as the host saves those of `p`; return its file, None where it saves none."""
        ...
