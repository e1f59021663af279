"""The finish in the panel, in a browser: folded away, done in the job, restored by pasting."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from lib_layerdiffusion.pictures.finishing import Steps, finish
from lib_layerdiffusion.request.settings import FINISH
from tests.page.actions import choose, element, eventually, generate, result_picture, text_of, tick

if TYPE_CHECKING:
    from playwright.sync_api import Page

WITHOUT_ALPHA = "(SDXL) From Foreground to Blending"


def unfold(page: Page) -> None:
    element(page, "finish").get_by_text("Finish", exact=True).click()
    element(page, "decontaminate").locator("input[type=number]").wait_for()


@pytest.mark.ui
def test_a_picture_is_finished_as_the_panel_says_and_pasting_says_it_again(page: Page) -> None:
    tick(page)
    plain = generate(page)
    decoded = np.array(result_picture(page))
    assert not {name for name in FINISH if name in plain["infotext"]}
    unfold(page)
    element(page, "decontaminate").locator("input[type=number]").fill("1")
    element(page, "clean_veil").locator("input[type=number]").fill("60")
    element(page, "trim").locator("input").check()
    element(page, "trim_margin").locator("input[type=number]").fill("2")
    element(page, "trim_margin").locator("input[type=number]").blur()
    report = generate(page)
    wanted = {"decontaminate": 1, "clean_veil": 60, "trim": True, "trim_margin": 2}
    assert {name: report["args"][name] for name in wanted} == wanted
    expected = finish(decoded, Steps(decontaminate=1, veil=60, trim=2))
    assert np.array_equal(np.array(result_picture(page)), expected)
    # a picture without the keys switches all off, and this one's on again
    for text, shown in ((plain["infotext"], "0"), (report["infotext"], "60")):
        page.locator("#infotext textarea").fill(text)
        page.locator("#paste").click()
        eventually(page, lambda: text_of(page, "clean_veil"), shown)
    assert generate(page)["infotext"] == report["infotext"]


@pytest.mark.ui
def test_the_finish_is_shown_for_methods_that_give_transparency(page: Page) -> None:
    assert element(page, "finish").is_visible()
    assert not element(page, "decontaminate").is_visible()
    choose(page, WITHOUT_ALPHA)
    eventually(page, lambda: element(page, "finish").is_visible(), False)
