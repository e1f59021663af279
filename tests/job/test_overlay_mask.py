"""The mask that lays the original over an inpainted picture: what other scripts make of it counts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from miniature.webui.processing import Processed, WebUI
from tests.helpers.jobs import arguments, picture, pixels, request
from tests.job.test_company import OtherScript

INIT = picture(width=64, height=64)
MASK = Image.new("L", (64, 64))
MASK.paste(255, (0, 0, 40, 64))
NARROWER = Image.new("L", (64, 64))
NARROWER.paste(255, (0, 0, 16, 64))


class MaskChanger(OtherScript):
    def postprocess_maskoverlay(self, p: Any, ppmo: Any, *args: Any) -> None:
        ppmo.mask_for_overlay = NARROWER


class OverlayRemover(OtherScript):
    def postprocess_maskoverlay(self, p: Any, ppmo: Any, *args: Any) -> None:
        ppmo.overlay_image = None


def inpaint(webui: WebUI, script: Any, before: Any = None, after: Any = None) -> Processed:
    p = request(webui, script, arguments(), init_images=[Image.fromarray(INIT)], image_mask=MASK)
    p.scripts = [one for one in (before, script, after) if one is not None]
    return webui.process_images(p)


@pytest.mark.parametrize("place", ["before", "after"])
def test_a_changed_mask_is_followed(webui: WebUI, script: Any, place: str) -> None:
    (plain,), (changed,) = (
        pixels(inpaint(webui, script)),
        pixels(inpaint(webui, script, **{place: MaskChanger()})),
    )
    assert (changed[:, 16:] == INIT[:, 16:]).all()
    assert (changed[:, :16] == plain[:, :16]).all()
    assert (plain[:, 16:40] != INIT[:, 16:40]).any()


@pytest.mark.parametrize("place", ["before", "after"])
def test_a_removed_overlay_keeps_nothing_of_the_original(webui: WebUI, script: Any, place: str) -> None:
    (result,) = pixels(inpaint(webui, script, **{place: OverlayRemover()}))
    assert np.abs(result[:, 48:] - INIT[:, 48:]).max() > 3
