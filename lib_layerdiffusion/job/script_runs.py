"""Scripts of the WebUI's list that make one picture in several jobs, and what becomes of its transparency.

Such a script takes the transparency from the init picture, enlarges what is left, runs a job for each tile of
it, and pastes the results into an opaque picture. While one runs for us, the host's functions that it uses
hand the transparency on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from lib_layerdiffusion.errors import UnsupportedMethod
from lib_layerdiffusion.methods import Method
from lib_layerdiffusion.pictures import tiles
from lib_layerdiffusion.pictures.arithmetic import pad_colour, to_uint8
from lib_layerdiffusion.pictures.finishing import Steps, finish
from lib_layerdiffusion.pictures.reading import has_alpha, to_rgba

PASTES_INTO_RGB = ("outpainting mk2",)
"""Scripts that put their results together by themselves, in a picture without transparency."""
PLOTS = ("x/y/z plot",)
"""Scripts whose jobs have nothing to do with each other."""
OFF = Steps()


class ScriptRun:
    """One run of a script called `title` over the init pictures, if any, with `method` switched on.

    Its picture is finished by `steps` once all tiles are there.

    `in_tiles`: it has cut a picture into tiles. A script of this kind looks at the first init picture alone.
    `plots`: its jobs go on from nothing of each other.
    """

    def __init__(
        self,
        title: str,
        method: Method,
        init_pictures: Sequence[Any] | None,
        steps: Steps = OFF,
    ) -> None:
        self.title = title
        self.method = method
        self.steps = steps
        self.in_tiles = False
        self.plots = title.lower() in PLOTS
        self._given = init_pictures[0] if init_pictures else None
        self._transparent: Image.Image | None = None
        self._flattened = False
        if isinstance(self._given, Image.Image):
            rgba = to_rgba(self._given)
            if rgba.getextrema()[3][0] < 255:
                self._transparent = rgba

    def flatten(self, picture: Any) -> Image.Image | None:
        """Return the init picture in its own colours everywhere, RGB; None for any other picture.

        On a background, its colours would be mixed with that where it is half transparent.
        """
        if picture is not self._given or self._transparent is None or not self.method.makes_alpha:
            return None
        self._flattened = True
        return Image.fromarray(to_uint8(pad_colour(np.asarray(self._transparent))))

    def split(self, picture: Image.Image) -> Image.Image:
        """Return what to cut into tiles in the place of `picture`. Raises UnsupportedMethod."""
        if self.method.frames > 1 or self.method.pictures:
            raise UnsupportedMethod(
                f'"{self.title}" makes the picture in tiles, and "{self.method.label}" would make a whole '
                "scene of each. Switch LayerDiffuse off for it, or use a method that only generates a "
                "transparent image."
            )
        self.in_tiles = True
        return self._with_alpha(picture) if self._flattened and picture.mode == "RGB" else picture

    def combine(self, grid: Any) -> Image.Image | None:
        """Return the picture of a host's grid whose tiles have transparency; None where they have none."""
        if not any(tile.mode == "RGBA" for _, _, row in grid.tiles for _, _, tile in row):
            return None
        rows = (
            (top, ((left, np.asarray(tile.convert("RGBA"))) for left, _, tile in row))
            for top, _, row in grid.tiles
        )
        whole = tiles.combine(rows, grid.image_h, grid.image_w, grid.overlap)
        return Image.fromarray(finish(whole, self.steps))

    def init_pictures(self, pictures: Sequence[Any]) -> list[Any]:
        """Return the init pictures of one of the script's jobs with their transparency.

        Raises UnsupportedMethod where the script has lost it, or will.
        """
        kept = any(isinstance(one, Image.Image) and has_alpha(one) for one in pictures)
        lost = self._transparent is not None and not kept
        if self.title.lower() in PASTES_INTO_RGB or (lost and not self._flattened):
            raise UnsupportedMethod(
                f'"{self.title}" loses the transparency of pictures, so its result would be opaque. Switch '
                "LayerDiffuse off for it."
            )
        return [self._with_alpha(picture) for picture in pictures] if lost else list(pictures)

    def _with_alpha(self, picture: Image.Image) -> Image.Image:
        """Give the whole picture, enlarged by the script, its alpha."""
        assert self._transparent is not None
        result = picture.convert("RGBA")
        alpha = self._transparent.getchannel("A")
        result.putalpha(alpha.resize(picture.size, Image.Resampling.LANCZOS))
        return result
