"""All that can be done to a finished transparent picture, in its one order.

Alpha first (veil, curve, specks, holes, choke, feather), then colour (decontaminate, bleed), then geometry
(trim, canvas), then additions (outline, shadow), premultiplying last. With everything off the picture comes
back as it is. Steps that only clean, which are veil, specks, holes, decontaminate, bleed and trim, change
nothing the second time.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from lib_layerdiffusion.pictures import additions, alpha, geometry
from lib_layerdiffusion.pictures.additions import Outline, Shadow
from lib_layerdiffusion.pictures.arithmetic import Uint8Image, blocks
from lib_layerdiffusion.pictures.bleed import bleed, border, colours_beside
from lib_layerdiffusion.pictures.decontaminate import decontaminate
from lib_layerdiffusion.pictures.geometry import Box, Canvas


@dataclass(frozen=True)
class Steps:
    """What is to be done; the defaults are nothing. Ranges are those of the functions that do it.

    `trim` is a margin in pixels, None where the picture is not cut.
    """

    veil: int = 0
    black: int = 0
    white: int = 255
    specks: float = 0.0
    holes: float = 0.0
    choke: float = 0.0
    feather: float = 0.0
    decontaminate: float = 0.0
    bleed: bool = False
    trim: int | None = None
    canvas: Canvas | None = None
    anchor: str = "center"
    outline: Outline | None = None
    shadow: Shadow | None = None
    premultiply: bool = False

    @property
    def do_nothing(self) -> bool:
        """True where every picture comes back as it is."""
        return self == Steps(anchor=self.anchor)

    @property
    def move_pixels(self) -> bool:
        """True where a picture may get another size, and its pixels other places."""
        return any(one is not None for one in (self.trim, self.canvas, self.outline, self.shadow))


def without_shadow(steps: Steps) -> Steps:
    return replace(steps, shadow=None)


def finish(rgba: Uint8Image, steps: Steps, box: Box | None = None) -> Uint8Image:
    """Return RGBA uint8 [H, W, 4] after all steps. Trimming cuts to `box` where one is given.

    Raises BadPicture where the picture does not fit on the canvas, or would become too large.
    """
    return completed(cleaned(rgba, steps), steps, box)


def cleaned(rgba: Uint8Image, steps: Steps) -> Uint8Image:
    """Do the steps of alpha alone: what is visible then is what trimming cuts to."""
    if steps.veil:
        rgba = alpha.clean_veil(rgba, steps.veil)
    if (steps.black, steps.white) != (0, 255):
        rgba = alpha.curve(rgba, steps.black, steps.white)
    if steps.specks:
        rgba = alpha.remove_specks(rgba, steps.specks)
    if steps.holes:
        rgba = alpha.fill_holes(rgba, steps.holes)
    if steps.choke:
        rgba = alpha.choke(rgba, steps.choke)
    if steps.feather:
        rgba = alpha.feather(rgba, steps.feather)
    return rgba


def completed(rgba: Uint8Image, steps: Steps, box: Box | None = None) -> Uint8Image:
    """Do all other steps, to what `cleaned` gave."""
    if steps.decontaminate:
        rgba = decontaminate(rgba, steps.decontaminate)
    if steps.bleed:
        rgba = bleed(rgba)
    before = rgba.shape
    if steps.trim is not None:
        rgba = geometry.trim(rgba, steps.trim, box)
    if steps.canvas is not None:
        rgba = geometry.put_on_canvas(rgba, steps.canvas, steps.anchor)
    if rgba.shape != before:
        rgba = _coloured_anew(rgba, steps)
    grow = steps.canvas is None
    if steps.outline is not None:
        rgba = additions.with_outline(rgba, steps.outline, grow)
    if steps.shadow is not None:
        rgba = additions.with_shadow(rgba, steps.shadow, grow)
    return premultiplied(rgba) if steps.premultiply else rgba


def premultiplied(rgba: Uint8Image) -> Uint8Image:
    """Return RGBA [H, W, 4] with colours times alpha, for programs that expect them so. Alpha stays."""
    result = rgba.copy()
    for rows in blocks(rgba):
        share = rgba[rows, :, 3:].astype(np.float32) / np.float32(255)
        result[rows, :, :3] = np.rint(rgba[rows, :, :3] * share)
    return result


def _coloured_anew(rgba: Uint8Image, steps: Steps) -> Uint8Image:
    """What came around the picture is as invisible as its own surroundings were, and gets their colours."""
    if steps.bleed:
        return bleed(rgba)
    if steps.decontaminate:
        beside = border(rgba)
        rgba = rgba.copy()
        rgba.reshape(-1, 4)[beside, :3] = colours_beside(rgba, beside)
    return rgba
