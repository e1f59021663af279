"""The picture over a checkerboard that is shown beside each result, and the infotext that it gets from it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from lib_layerdiffusion.hosts import result_texts
from lib_layerdiffusion.hosts.base import Host, Job
from lib_layerdiffusion.job.quick_upscale import PREVIEW_MARK
from lib_layerdiffusion.pictures.arithmetic import preview

logger = logging.getLogger("layerdiffuse")

PREVIEW = "layerdiffuse_preview"
"""Attribute of previews: the number of their picture among those that were delivered."""


def show(host: Host, p: Job, picture: Image.Image, number: int) -> None:
    """Add the preview of a finished RGBA picture to the job, whose `number` it is. Raises nothing."""
    try:
        shown = Image.fromarray(preview(np.asarray(picture, np.float32) / np.float32(255)))
    # the picture itself is there
    except Exception:
        logger.warning("The preview over a checkerboard could not be made.", exc_info=True)
        return
    setattr(shown, PREVIEW, number)
    # what is told of it by text alone comes back with it from the page
    shown.info[PREVIEW_MARK] = "True"
    host.keep(shown)
    # a list of its own: copies of `p` share the list they were copied with
    p.extra_result_images = [*p.extra_result_images, shown]


def without(images: Sequence[Any]) -> list[Any]:
    """Return pictures but for the previews among them."""
    return [image for image in images if not hasattr(image, PREVIEW)]


def tell(host: Host, p: Job, processed: Any) -> None:
    """Give every preview in a host's result the infotext of its picture, and have it sent."""
    previews = [image for image in processed.extra_images if hasattr(image, PREVIEW)]
    texts = [_text_of(processed, getattr(image, PREVIEW)) for image in previews]
    if getattr(p, "is_api", False) and not host.api_answers_extra_images:
        processed.images = [*processed.images, *previews]
        processed.infotexts = [*processed.infotexts, *texts]
        processed.extra_images = without(processed.extra_images)
    else:
        for image, text in zip(previews, texts, strict=True):
            result_texts.give(processed, image, text)


def _text_of(processed: Any, number: int) -> str:
    """The infotext of a picture by its number among those of the job; grids stand before them."""
    texts = processed.infotexts[processed.index_of_first_image :]
    return str(texts[number] if number < len(texts) else processed.info)
