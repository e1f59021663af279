"""The buttons of the job at hand, as hosts keep them: one object for the whole process."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class State:
    """Interrupt ends the job, Skip the batch at hand; `stopping_generation` lets that one be finished."""

    interrupted: bool = False
    skipped: bool = False
    stopping_generation: bool = False

    def begin(self) -> None:
        """A request starts with no button pressed."""
        self.interrupted = self.skipped = self.stopping_generation = False


state = State()


class InterruptedException(BaseException):
    """Ends a sampling pass with the latents as they are. No Exception, so that nobody catches it early."""
