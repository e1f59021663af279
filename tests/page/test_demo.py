"""The page that `python dev.py demo` opens, clicked through."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from miniature.measure import quality
from miniature.webui.demo import METHOD
from tests.page.actions import choose, element, eventually, tick, upload_into
from tests.page.demo_page import demo_url, generate, infotext, page

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.ui
__all__ = ["demo_url", "page"]


def test_a_red_apple_is_made_and_made_again_from_its_infotext(page: Page) -> None:
    tick(page)
    first = generate(page)
    assert first.shape == (128, 128, 4)
    assert first[:4, :, 3].mean() < 12
    assert first[52:76, 52:76, 3].mean() > 240
    assert first[52:76, 52:76, 0].mean() > first[52:76, 52:76, 2].mean() + 60
    written = infotext(page)
    page.locator("#txt2img_prompt textarea").fill("lemon")
    page.locator("#txt2img_seed input").fill("7")
    assert np.abs(generate(page) - first).max() > 50
    page.locator("#infotext textarea").fill(written)
    page.locator("#paste").click()
    eventually(page, lambda: page.locator("#txt2img_seed input").input_value(), "1")
    assert page.locator("#txt2img_prompt textarea").input_value() == "red apple"
    assert element(page, "enabled").locator("input").is_checked()
    assert (generate(page) == first).all()


def test_an_uploaded_picture_keeps_its_alpha(page: Page) -> None:
    picture = quality.held_out()["elephant"]
    tick(page)
    page.get_by_text("img2img", exact=True).click()
    upload_into(page.locator("#img2img_image").first, picture)
    page.locator("#img2img_denoising_strength input[type=number]").fill("0")
    page.locator("#txt2img_prompt textarea").fill("")
    made = generate(page)
    assert made.shape == (128, 128, 4)
    assert np.abs(made - picture.astype(int))[..., 3].mean() < 16


def test_a_method_of_the_other_family_is_answered_with_a_sentence(page: Page) -> None:
    tick(page)
    element(page, "method").locator("input").click()
    page.locator("ul.options li", has_text="(SD1.5) Only Generate").first.click()
    page.locator("#generate").click()
    error = page.locator("#html_log_txt2img .error")
    error.wait_for()
    assert "needs an SD1.5 checkpoint" in error.inner_text()


def test_another_checkpoint_makes_the_layers_of_a_scene(page: Page) -> None:
    tick(page)
    choose(page, METHOD["layer_sd15_joint"].label)
    page.locator("#setting_sd_model_checkpoint input").click()
    page.locator('ul.options li[aria-label="sd15"]').click()
    page.locator("#txt2img_prompt textarea").fill("panda, meadow")
    foreground = generate(page)
    assert foreground[:4, :, 3].mean() < 12
    assert foreground[52:76, 52:76, 3].mean() > 240
    # one of each layer, and the foreground over a checkerboard
    eventually(page, lambda: page.locator("#result button img").count(), 4)
    assert "Generate Everything Together" in infotext(page)


def test_the_script_of_the_list_makes_a_stack_of_layers(page: Page) -> None:
    page.locator("#script_list input").click()
    page.locator("ul.options li", has_text="LayerDiffuse layers").first.click()
    objects = element(page, "layers_objects").locator("textarea")
    objects.wait_for()
    objects.fill("red apple\nstar")
    page.locator("#txt2img_prompt textarea").fill("meadow")
    composite = generate(page)
    eventually(page, lambda: page.locator("#result button img").count(), 4)
    assert "layerdiffusion_stack: composite of 5 layers" in infotext(page)
    # what is in the middle, in front of the meadow
    assert composite[70, 64, 0] > composite[70, 64, 2] + 60
    assert composite[-6, 6, 1] > composite[-6, 6, 0] + 20


def test_each_kind_shows_what_it_needs(page: Page) -> None:
    page.locator("#script_list input").click()
    page.locator("ul.options li", has_text="LayerDiffuse layers").first.click()
    objects, surroundings = (element(page, f"layers_{name}") for name in ("objects", "surroundings"))
    objects.wait_for()
    assert not surroundings.is_visible()
    page.get_by_label("A subject and its surroundings").check()
    surroundings.wait_for()
    eventually(page, objects.is_visible, False)
    page.locator("#generate").click()
    error = page.locator("#html_log_txt2img .error")
    error.wait_for()
    assert "has no prompt for the surroundings" in error.inner_text()


def test_the_words_of_a_method_join_the_prompt_unless_they_are_left_out(page: Page) -> None:
    tick(page)
    words = element(page, "trigger_words")
    assert not words.is_visible()
    choose(page, METHOD["anima_rgba_lora"].label)
    page.locator("#setting_sd_model_checkpoint input").click()
    page.locator('ul.options li[aria-label="anima"]').click()
    words.wait_for()
    eventually(page, lambda: "experimental" in element(page, "advice").inner_text(), True)
    first = generate(page)
    assert first[52:76, 52:76, 3].mean() > 240
    assert first[:4, :, 3].mean() < 120
    assert infotext(page).startswith("red apple\n")
    assert "trigger_words" not in infotext(page)
    words.locator("input").uncheck()
    without = generate(page)
    assert "layerdiffusion_trigger_words: False" in infotext(page)
    assert np.abs(without - first).max() > 5
    page.locator("#txt2img_prompt textarea").fill("transparent background, red apple")
    assert (generate(page) == first).all()
