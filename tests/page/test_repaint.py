"""Repainting in the panel, in a browser: folded away, for one picture that is there, and in one click."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from lib_layerdiffusion.methods import KEEP, SD15
from miniature.webui.demo import METHOD
from tests.page.actions import choose, element, eventually, text_of, tick, upload_into
from tests.page.demo_page import demo_url, generate, infotext, page

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.ui
__all__ = ["demo_url", "page"]

OF_BOTH = {"follow_new_edges", "behind"}
IN_ONE_CLICK = {"repaint_with", "repaint_strength", "repaint_prompt"}


def unfold(page: Page) -> None:
    element(page, "repaint").get_by_text("Repaint", exact=True).first.click()
    element(page, "behind").wait_for()


def seen(page: Page) -> set[str]:
    return {name for name in OF_BOTH | IN_ONE_CLICK if element(page, name).is_visible()}


def pick(page: Page, name: str, option: str) -> None:
    element(page, name).locator("input").first.click()
    page.locator(f'ul.options li[aria-label="{option}"]').click()


def test_the_controls_are_folded_away_and_those_of_the_method(page: Page) -> None:
    assert element(page, "repaint").is_visible()
    assert seen(page) == set()
    unfold(page)
    eventually(page, lambda: seen(page), OF_BOTH | IN_ONE_CLICK)
    choose(page, KEEP.label)
    eventually(page, lambda: seen(page), OF_BOTH)
    choose(page, METHOD["layer_sd15_joint"].label)
    eventually(page, lambda: element(page, "repaint").is_visible(), False)


def test_both_steps_in_one_click_and_again_from_the_infotext(page: Page) -> None:
    tick(page)
    plain = generate(page)
    assert "repaint" not in infotext(page)
    unfold(page)
    pick(page, "repaint_with", SD15.key)
    element(page, "follow_new_edges").locator("input[type=number]").fill("0")
    element(page, "follow_new_edges").locator("input[type=number]").blur()
    element(page, "repaint_prompt").locator("textarea").fill("lemon")
    together = generate(page)
    assert (together[..., 3] == plain[..., 3]).all()
    inside = plain[..., 3] == 255
    assert np.abs(together - plain)[inside].mean() > 2
    written = infotext(page)
    assert f"layerdiffusion_repaint_with: {SD15.key}" in written
    pick(page, "repaint_with", "None")
    element(page, "repaint_prompt").locator("textarea").fill("")
    assert (generate(page) == plain).all()
    page.locator("#infotext textarea").fill(written)
    page.locator("#paste").click()
    eventually(page, lambda: text_of(page, "repaint_with"), SD15.key)
    assert element(page, "repaint_prompt").locator("textarea").input_value() == "lemon"
    assert (generate(page) == together).all()


def test_a_picture_is_repainted_by_a_checkpoint_of_the_other_family(page: Page) -> None:
    tick(page)
    apple = generate(page)
    choose(page, KEEP.label)
    page.locator("#setting_sd_model_checkpoint input").first.click()
    page.locator(f'ul.options li[aria-label="{SD15.key}"]').click()
    page.get_by_text("img2img", exact=True).click()
    # without a picture there is nothing to keep
    page.locator("#generate").click()
    error = page.locator("#html_log_txt2img .error")
    error.wait_for()
    assert "use it in img2img" in error.inner_text()
    upload_into(page.locator("#img2img_image").first, apple.astype(np.uint8))
    unfold(page)
    element(page, "follow_new_edges").locator("input[type=number]").fill("0")
    element(page, "follow_new_edges").locator("input[type=number]").blur()
    again = generate(page)
    assert (again[..., 3] == apple[..., 3]).all()
    assert (again[..., :3] != apple[..., :3]).any()
    assert not element(page, "weight").is_visible()
