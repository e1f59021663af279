"""What follows a script from the host's list while it runs one job after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from PIL import Image


class ScriptRun(Protocol):
    """What is asked while a script from the host's list runs one job after the other."""

    def flatten(self, picture: Any) -> Image.Image | None:
        """What the script gets for a picture without its transparency, None for what the host makes of it."""
        ...

    def split(self, picture: Image.Image) -> Image.Image:
        """What the host is to cut into tiles in the place of `picture`."""
        ...

    def combine(self, grid: Any) -> Image.Image | None:
        """The picture that the tiles of a host's grid make, None for what the host makes of them."""
        ...


Begin = Callable[[Any, str, Sequence[Any]], ScriptRun | None]
"""Called with a job, the title of the script chosen for it, and our own script's arguments."""
