"""What a page asks about the jobs before: the newest pictures of each layer, and what went wrong.

Many people may use one WebUI, and each sees only what comes of their own jobs. A page has a name,
"WINDOW TAB": the pictures are those of a window of the browser, the message that of one tab of the WebUI in
it, where one job is begun after the other.
"""

from __future__ import annotations

import itertools
from collections import OrderedDict
from threading import Lock

import numpy as np
from PIL import Image

from lib_layerdiffusion.methods import Layer
from lib_layerdiffusion.pictures.arithmetic import Uint8Image

WINDOWS = 16
"""As many are remembered; of more, those without a picture or message for the longest time are forgotten."""


class _Window:
    """At most one picture per layer, numbered in their order, and one message per tab."""

    def __init__(self) -> None:
        self.pictures: dict[Layer, tuple[int, Uint8Image]] = {}
        self.messages: dict[str, str] = {}


class Latest:
    """Kept until the next one. A job that no page began has the name "", and nothing of it is kept."""

    def __init__(self) -> None:
        self._windows: OrderedDict[str, _Window] = OrderedDict()
        self._count = itertools.count()
        # pages ask while jobs run
        self._lock = Lock()

    def keep(self, page: str, layer: Layer, picture: Image.Image) -> None:
        """Keep a delivered picture; a copy, as hosts change theirs while saving."""
        self._used(page).pictures[layer] = next(self._count), np.array(picture)

    def picture_for(self, page: str, slot: Layer) -> Uint8Image | None:
        """Return the newest picture that is transparent or of the slot's layer, RGBA or RGB [H, W, C]."""
        pictures = self._known(page).pictures
        # transparent pictures are foregrounds
        kept = [pictures[layer] for layer in {Layer.FOREGROUND, slot} if layer in pictures]
        return max(kept, key=lambda one: one[0])[1] if kept else None

    def tell(self, page: str, message: str) -> None:
        """Keep what went wrong with a job until the page asks, or begins the next one."""
        self._used(page).messages[_tab(page)] = message

    def take_message(self, page: str) -> str:
        """Return what went wrong since this was asked, or ""."""
        return self._known(page).messages.pop(_tab(page), "")

    def _known(self, page: str) -> _Window:
        return self._windows.get(_window(page)) or _Window()

    def _used(self, page: str) -> _Window:
        window = _window(page)
        if not window:
            return _Window()
        with self._lock:
            used = self._windows.setdefault(window, _Window())
            self._windows.move_to_end(window)
            while len(self._windows) > WINDOWS:
                self._windows.popitem(last=False)
            return used


def _window(page: str) -> str:
    return page.partition(" ")[0]


def _tab(page: str) -> str:
    return page.partition(" ")[2]
