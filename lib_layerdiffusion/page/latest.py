"""What the page asks about the jobs before: the newest pictures of each layer, and what went wrong."""

from __future__ import annotations

import itertools

import numpy as np
from PIL import Image

from lib_layerdiffusion.methods import Layer
from lib_layerdiffusion.pictures.arithmetic import Uint8Image


class Latest:
    """Kept until the next one: at most one picture per layer, and one message."""

    def __init__(self) -> None:
        self._pictures: dict[Layer, tuple[int, Uint8Image]] = {}
        self._count = itertools.count()
        self._message = ""

    def keep(self, layer: Layer, picture: Image.Image) -> None:
        """Keep a delivered picture; a copy, as hosts change theirs while saving."""
        self._pictures[layer] = next(self._count), np.array(picture)

    def picture_for(self, slot: Layer) -> Uint8Image | None:
        """Return the newest picture that is transparent or of the slot's layer, RGBA or RGB [H, W, C]."""
        # transparent pictures are foregrounds
        kept = [self._pictures[layer] for layer in {Layer.FOREGROUND, slot} if layer in self._pictures]
        return max(kept, key=lambda one: one[0])[1] if kept else None

    def tell(self, message: str) -> None:
        self._message = message

    def take_message(self) -> str:
        """Return what went wrong since this was asked, or ""."""
        message, self._message = self._message, ""
        return message
