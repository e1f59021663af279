"""What a user sees and does in the panel, in a browser; and how pasted settings fill it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from lib_layerdiffusion.methods import METHODS, Layer, find_method
from lib_layerdiffusion.request.settings import ARGUMENTS, FINISH, REPAINTING
from tests.helpers.jobs import picture
from tests.page.actions import (
    LAYERS,
    choose,
    element,
    expected,
    gap,
    generate,
    result_picture,
    see_controls_of,
    shown,
    text_of,
    tick,
    upload,
)
from tests.page.conftest import at, paste, prepared

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Route

DEFAULT = "(SDXL) Only Generate Transparent Image (Attention Injection)"
TOGETHER = "(SD1.5) Generate Everything Together (need batch size 3)"
FROM_FOREGROUND = "(SDXL) From Foreground to Blending"
# The method's name is of an older release, the quoted prompt holds what separates keys.
INFOTEXT = """a cup, a table: a room
Negative prompt: blurry
Steps: 2, Seed: 1, Size: 64x64, layerdiffusion_enabled: True, \
layerdiffusion_method: (SD1.5) Generate Everything Together, layerdiffusion_weight: 0.75, \
layerdiffusion_ending_step: 0.5, layerdiffusion_fg_image: False, layerdiffusion_bg_image: False, \
layerdiffusion_blend_image: True, layerdiffusion_resize_mode: Resize and Fill, \
layerdiffusion_fg_additional_prompt: "a cup, blue: \\"glass\\"", \
layerdiffusion_bg_additional_prompt: a room, Version: 1"""
FOREIGN_INFOTEXT = "a cup\nSteps: 2, Sampler: Euler a, Seed: 1"


@pytest.mark.ui
def test_panel_is_off_at_first_and_offers_every_method_of_the_table(page: Page) -> None:
    assert not element(page, "enabled").locator("input").is_checked()
    assert text_of(page, "method") == DEFAULT
    assert shown(page) == expected(find_method(DEFAULT))
    # the hidden pictures leave no blank row behind
    assert gap(page, "method", "ending_step") <= gap(page, "enabled", "method") + 2
    element(page, "method").locator("input").click()
    options = [option.get_attribute("aria-label") for option in page.locator("ul.options li").all()]
    assert options == [method.label for method in METHODS]


@pytest.mark.ui
def test_every_method_shows_its_own_controls_and_no_others(page: Page, subtests: pytest.Subtests) -> None:
    for method in METHODS:
        # from a method with other controls, so that what is seen afterwards is the answer to the choice
        before = next(other for other in METHODS if expected(other) != expected(method))
        with subtests.test(method.label):
            choose(page, before.label)
            see_controls_of(page, before.label)
            choose(page, method.label)
            see_controls_of(page, method.label)


@pytest.mark.ui
def test_a_choice_that_is_made_while_the_page_loads_stays(browser: Browser, page_url: str) -> None:
    """What the page asked before is answered after it."""
    page = prepared(browser.new_page())
    held: list[Route] = []
    loads = True

    def hold(route: Route) -> None:
        if loads and route.request.method == "POST":
            held.append(route)
        else:
            route.continue_()

    page.route("**/*", hold)
    at(page, page_url)
    page.wait_for_timeout(500)
    loads = False
    choose(page, FROM_FOREGROUND)
    see_controls_of(page, FROM_FOREGROUND)
    assert held
    for route in held:
        route.continue_()
    page.wait_for_timeout(1000)
    assert shown(page) == expected(find_method(FROM_FOREGROUND))
    page.close()


@pytest.mark.ui
def test_prompts_survive_switching_the_method_away_and_back(page: Page) -> None:
    typed = {f"{layer}_prompt": f"a {layer}, made of glass" for layer in LAYERS}
    choose(page, TOGETHER)
    for name, text in typed.items():
        element(page, name).locator("textarea").fill(text)
    for method in (DEFAULT, TOGETHER):
        choose(page, method)
        see_controls_of(page, method)
    assert {name: text_of(page, name) for name in typed} == typed
    args = generate(page)["args"]
    assert [args[name] for name, _ in ARGUMENTS[9:12]] == list(typed.values())


@pytest.mark.ui
def test_pictures_are_transparent_while_enabled_and_ordinary_otherwise(page: Page) -> None:
    tick(page)
    report = generate(page)
    assert report["images"] == [["RGBA", [64, 64]]]
    assert f"layerdiffusion_method: {DEFAULT}" in report["infotext"]
    ((low, high),) = report["alpha"]
    assert low < high
    picture = result_picture(page)
    assert picture.mode == "RGBA"
    assert picture.getchannel("A").getextrema() == (low, high)
    tick(page)
    report = generate(page)
    assert report["images"] == [["RGB", [64, 64]]]
    assert "layerdiffusion" not in report["infotext"]


@pytest.mark.ui
def test_uploaded_picture_arrives_with_its_alpha(page: Page) -> None:
    pixels = picture(width=16, height=12)
    pixels[3:5, 2:9, 3] = 77
    tick(page)
    choose(page, FROM_FOREGROUND)
    upload(page, Layer.FOREGROUND, pixels)
    report = generate(page)
    arrived = np.array(report["args"]["fg_image"])
    assert arrived.shape == pixels.shape
    assert (arrived == pixels).all()
    assert report["images"] == [["RGB", [64, 64]]]
    assert "layerdiffusion_fg_image: True" in report["infotext"]
    if "UI_SCREENSHOT" in os.environ:
        page.screenshot(path=os.environ["UI_SCREENSHOT"], full_page=True)


@pytest.mark.ui
def test_missing_picture_is_asked_for_by_name(page: Page) -> None:
    tick(page)
    choose(page, FROM_FOREGROUND)
    report = generate(page)
    assert f'"{FROM_FOREGROUND}" needs a foreground picture.' in report["error"]
    assert "images" not in report
    assert page.locator("#result img").count() == 0


@pytest.mark.ui
def test_pasted_settings_show_in_the_panel(page: Page) -> None:
    page.locator("#infotext textarea").fill(INFOTEXT)
    page.locator("#paste").click()
    see_controls_of(page, TOGETHER)
    assert element(page, "enabled").locator("input").is_checked()
    assert text_of(page, "method") == TOGETHER
    assert text_of(page, "foreground_prompt") == 'a cup, blue: "glass"'
    assert text_of(page, "background_prompt") == "a room"


def pasted(script: Any, infotext: str) -> dict[str, Any]:
    """The controls' new values by argument name; those that stay as they are are left out."""
    import gradio as gr

    with gr.Blocks(analytics_enabled=False):
        controls = script.ui(False)
    # the last is the name of the browser's window
    names = {id(control): name for control, (name, _) in zip(controls[:-1], ARGUMENTS, strict=True)}
    fields = script.infotext_fields
    updates = zip(fields, paste(fields, infotext), strict=True)
    return {names[id(control)]: u["value"] for (control, _), u in updates if "value" in u}


def test_infotext_fills_every_control_it_has_a_key_for(script: Any) -> None:
    assert pasted(script, INFOTEXT) == {
        "enabled": True,
        "method": TOGETHER,
        "weight": 0.75,
        "ending_step": 0.5,
        "resize_mode": "Resize and Fill",
        # what an infotext says nothing of was off
        **{name: value.default for name, value in (FINISH | REPAINTING).items()},
        "trigger_words": True,
        "fg_additional_prompt": 'a cup, blue: "glass"',
        "bg_additional_prompt": "a room",
        "blend_additional_prompt": "",
    }


def test_infotext_without_our_keys_switches_the_panel_off_and_empties_the_prompts(script: Any) -> None:
    assert pasted(script, FOREIGN_INFOTEXT) == {
        "enabled": False,
        **{f"{layer}_additional_prompt": "" for layer in ("fg", "bg", "blend")},
        "repaint_prompt": "",
    }
