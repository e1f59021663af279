"""What jobs of our own need of a host: a script in its list runs several, another may follow on a picture."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
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

    def with_picture(self, p: Any, picture: Image.Image, denoising: float) -> Any:
        """Return a job for img2img of this picture, of its size, with all else that `p` has of one."""
        ...

    def checkpoints(self) -> Sequence[str]:
        """The names of all checkpoints, as the page shows them."""
        ...

    def checkpoint_named(self, name: str) -> str | None:
        """The name among all that somebody means by this one, None for none."""
        ...

    def other_checkpoint(self, p: Any, job: Any, name: str) -> AbstractContextManager[None]:
        """Have `job` of ours run with another checkpoint within the block; afterwards that of `p` is back."""
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
