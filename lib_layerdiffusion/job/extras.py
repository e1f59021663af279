"""Finishing in the Extras tab: any transparent picture, with its transparency kept through all other steps.

These look at colours alone, and give back a picture without transparency. So they get one whose colours go on
under the transparency, and what they make of it gets the alpha again, enlarged as they enlarged the picture.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from lib_layerdiffusion.errors import BadSetting, UnsupportedMethod
from lib_layerdiffusion.hosts import webui_extras
from lib_layerdiffusion.pictures.atlas import make_atlas
from lib_layerdiffusion.pictures.bleed import bleed
from lib_layerdiffusion.pictures.finishing import Steps, finish
from lib_layerdiffusion.pictures.reading import has_alpha, to_rgba
from lib_layerdiffusion.request import spellings
from lib_layerdiffusion.request.finish import NAMES, VALUES, steps_of

TITLE = "LayerDiffuse Finish"
KEPT = "layerdiffuse_kept"
ENABLED, ATLAS = "enabled", "atlas"
CROPPED = "Postprocess crop to"
"""Key among what hosts tell of a picture: it was enlarged to cover a size, and its middle was taken."""
EIGHT = 8
"""Hosts enlarge to multiples of this."""
UNLIKE = 0.03
"""By how much side ratios differ, through rounding, of pictures that were only enlarged."""


@dataclass(frozen=True)
class Kept:
    """A picture as it came, what other steps got of it, and what is to be done."""

    rgba: Image.Image
    flat: Image.Image
    steps: Steps
    atlas: bool
    told: str


def begin(pp: Any, values: Mapping[str, Any]) -> None:
    """Before all steps of the tab: take the transparency aside, if our section is on. Raises BadSetting."""
    read = _values(values)
    if not spellings.truth(read.pop(ENABLED, False)):
        return
    if not has_alpha(pp.image):
        pp.info[TITLE] = "the picture has no transparency"
        return
    atlas = bool(spellings.truth(read.pop(ATLAS, False)))
    steps = steps_of(read)
    told = ", ".join(
        f"{value.name} {value.read(read[value.name])}"
        for value in VALUES
        if value.name in read and value.read(read[value.name]) != value.default
    )
    rgba = to_rgba(pp.image, "given")
    flat = Image.fromarray(np.ascontiguousarray(bleed(np.asarray(rgba))[..., :3]))
    setattr(pp, KEPT, Kept(rgba, flat, steps, atlas, told or "on"))
    pp.image = flat


def end(pp: Any) -> None:
    """After all steps: give the transparency back, and finish. Raises BadPicture, UnsupportedMethod."""
    kept: Kept | None = pp.__dict__.pop(KEPT, None)
    if kept is None:
        return
    picture = kept.rgba if pp.image is kept.flat else _with_alpha(pp.image, kept.rgba, pp.info)
    if not kept.steps.do_nothing:
        picture = Image.fromarray(finish(np.asarray(picture), kept.steps))
    webui_extras.keep(picture)
    pp.image, pp.info[TITLE] = picture, kept.told
    if kept.atlas:
        webui_extras.add_sprite(picture)


def atlas(sprites: dict[str, Image.Image], image: str) -> tuple[Image.Image, dict[str, Any]]:
    """Return the finished pictures of a batch as one, with its description. Raises BadPicture."""
    pictures = {name: np.asarray(picture) for name, picture in sprites.items()}
    sheet, description = make_atlas(pictures, image=image)
    return Image.fromarray(sheet), description


def _values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the page, or those that a request of the web API has; being there means enabled."""
    asked = webui_extras.asked()
    if asked is None:
        return {name: value for name, value in values.items() if value is not None}
    if not isinstance(asked, Mapping):
        raise BadSetting(
            f'"layerdiffuse" of the request is "{spellings.shown(asked)}"; it must be an object with any of: '
            f"{', '.join(NAMES)}."
        )
    return {ENABLED: True, **spellings.named(asked, (ENABLED, ATLAS, *NAMES))}


def _with_alpha(picture: Image.Image, original: Image.Image, info: Mapping[str, Any]) -> Image.Image:
    alpha = original.getchannel("A")
    if info.get(CROPPED):
        factor = max(picture.width / original.width, picture.height / original.height)
        width, height = (int(side * factor) // EIGHT * EIGHT for side in original.size)
        large = alpha.resize((width, height), Image.Resampling.LANCZOS)
        alpha = Image.new("L", picture.size)
        place = picture.width // 2 - large.width // 2, picture.height // 2 - large.height // 2
        alpha.paste(large, place)
    elif picture.size != original.size:
        ratio = picture.width * original.height / (picture.height * original.width)
        if abs(ratio - 1) > UNLIKE:
            raise UnsupportedMethod(
                f"Another step of the Extras tab cut or turned the picture, from {original.width}x"
                f"{original.height} to {picture.width}x{picture.height} pixels, so its transparency does not "
                "fit. Switch that step off, or LayerDiffuse Finish."
            )
        alpha = alpha.resize(picture.size, Image.Resampling.LANCZOS)
    result = picture.convert("RGB")
    result.putalpha(alpha)
    return result
