"""The host's own colour correction of img2img, which it makes before it lays the original over."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from miniature.webui.processing import WebUI
from tests.helpers.jobs import arguments, picture, pixels, request
from tests.helpers.scripts import OtherScript

SIDE = 64
INIT = picture(width=SIDE, height=SIDE)
OTHER = np.dstack([INIT[..., 2], INIT[..., 0], INIT[..., 1], INIT[..., 3]])
EVERYWHERE = Image.new("L", (SIDE, SIDE), 255)
PARTLY = Image.new("L", (SIDE, SIDE))
PARTLY.paste(255, (8, 16, 48, 56))
PARTLY.paste(128, (8, 16, 12, 56))
CLEARED = slice(20, 40), slice(20, 40)


class Brightener(OtherScript):
    def postprocess_image(self, p: Any, pp: Any, *args: Any) -> None:
        pp.image = pp.image.point(lambda level: level + 30)


class Remover(OtherScript):
    def postprocess_image(self, p: Any, pp: Any, *args: Any) -> None:
        cut = np.array(pp.image.convert("RGBA"))
        cut[CLEARED] = 0
        pp.image = Image.fromarray(cut)


class Job:
    """One img2img job with the mask, and with or without the host's correction."""

    def __init__(self, webui: WebUI, script: Any) -> None:
        self.webui, self.script = webui, script

    def __call__(
        self,
        mask: Image.Image | None,
        corrected: bool,
        others: Any = (),
        inits: Any = (INIT,),
        **settings: Any,
    ) -> np.ndarray:
        given = [Image.fromarray(init) for init in inits]
        settings = {"args": arguments(), "init_images": given, "image_mask": mask, **settings}
        p = request(self.webui, self.script, **settings)
        p.scripts = [*others, self.script]
        self.webui.color_correction = corrected
        return pixels(self.webui.process_images(p))


@pytest.fixture
def job(webui: WebUI, script: Any) -> Job:
    return Job(webui, script)


@pytest.mark.parametrize("only_masked", [False, True])
@pytest.mark.parametrize("others", [[], [Brightener()]], ids=["alone", "after another script"])
def test_a_mask_of_everything_is_corrected_like_no_mask(job: Job, only_masked: bool, others: Any) -> None:
    plain, expected = (job(None, corrected, others) for corrected in (False, True))
    assert np.abs(expected - plain)[..., :3].mean() > 3
    assert (job(EVERYWHERE, True, others, inpaint_full_res=only_masked) == expected).all()


def test_every_picture_of_a_batch_has_its_own(job: Job) -> None:
    expected = job(None, True, inits=[INIT, OTHER], batch_size=2)
    assert (job(EVERYWHERE, True, inits=[INIT, OTHER], batch_size=2) == expected).all()


@pytest.mark.parametrize("only_masked", [False, True])
def test_the_inside_is_corrected_and_the_outside_is_the_original(job: Job, only_masked: bool) -> None:
    (plain,), (corrected,) = (job(PARTLY, on, inpaint_full_res=only_masked) for on in (False, True))
    levels = np.asarray(PARTLY)
    assert (corrected[levels == 0] == INIT[levels == 0]).all()
    moved = (corrected - plain)[levels == 255]
    assert np.abs(moved[:, :3]).mean() > 3
    assert (moved[:, 3] == 0).all()


def test_an_ordinary_picture_is_corrected_before_the_original_is_laid_over_it(job: Job) -> None:
    (plain,), (corrected,) = (job(PARTLY, on, args=[False]) for on in (False, True))
    levels, opaque = np.asarray(PARTLY), INIT[..., :3]
    assert (corrected[levels == 0] == opaque[levels == 0]).all()
    assert np.abs(corrected - plain)[levels == 255].mean() > 3


def test_what_another_script_cleared_stays_clear(job: Job) -> None:
    (result,) = job(EVERYWHERE, True, [Remover()])
    assert (result[CLEARED][..., 3] == 0).all()
    assert (np.delete(result[..., 3], CLEARED[0], axis=0) > 0).any()
