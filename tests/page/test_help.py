"""How the page helps: what it says before and after Generate, and results taken back into the panel."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from lib_layerdiffusion.methods import METHODS, Layer
from miniature.webui.host import MiniatureHost
from miniature.webui.script import load_script
from tests.helpers.jobs import picture
from tests.page.actions import (
    choose,
    element,
    eventually,
    generate,
    result_picture,
    see_controls_of,
    shown,
    text_of,
    tick,
    upload,
)
from tests.request.test_infotext import BLOCKS, EXPECTED

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

BLEND_TO_BACKGROUND = "(SDXL) From Foreground and Blending to Background"
FROM_BACKGROUND = "(SDXL) From Background to Blending"
FROM_FOREGROUND = "(SDXL) From Foreground to Blending"
DEFAULT = "(SDXL) Only Generate Transparent Image (Attention Injection)"
TOGETHER = "(SD1.5) Generate Everything Together (need batch size 3)"


def advice(page: Page) -> list[str]:
    box = element(page, "advice")
    return box.locator("p").all_inner_texts() if box.is_visible() else []


def see(page: Page, *sentences: str) -> None:
    eventually(page, lambda: [one.partition(". ")[0].rstrip(".") for one in advice(page)], list(sentences))


def pick(page: Page, elem_id: str, value: str) -> None:
    page.locator(f"#{elem_id} input").click()
    page.locator(f'ul.options li[aria-label="{value}"]').click()


@pytest.mark.ui
def test_the_panel_says_what_a_method_still_needs(page: Page) -> None:
    see(page)
    choose(page, BLEND_TO_BACKGROUND)
    see(page, "This method still needs a foreground and a blended picture")
    upload(page, Layer.FOREGROUND, picture(width=16, height=12))
    see(page, "This method still needs a blended picture")
    assert element(page, "advice").locator("[role=alert]").count() == 1
    upload(page, Layer.BLENDED, picture(Layer.BLENDED, width=16, height=12))
    see(page)
    slot = element(page, "foreground")
    slot.get_by_label("Clear").or_(slot.get_by_label("Remove Image")).click()
    see(page, "This method still needs a foreground picture")
    choose(page, DEFAULT)
    see(page)


@pytest.mark.ui
def test_the_panel_warns_of_samplers_and_checkpoints(page: Page) -> None:
    choose(page, FROM_BACKGROUND)
    pick(page, "txt2img_sampling", "DPM++ 2M")
    see(page, "This method still needs a background picture")
    choose(page, BLEND_TO_BACKGROUND)
    missing = "This method still needs a foreground and a blended picture"
    dpm = "DPM++ samplers are known to give artefacts with this method; Euler a and UniPC work"
    see(page, missing, dpm)
    pick(page, "txt2img_sampling", "UniPC")
    see(page, missing)
    pick(page, "setting_sd_model_checkpoint", "sd15")
    wrong = "This method needs an SDXL checkpoint, but the miniature (sd15) is selected"
    see(page, wrong, missing)
    choose(page, TOGETHER)
    see(page)
    pick(page, "setting_sd_model_checkpoint", "flux")
    see(page, wrong.replace("SDXL", "SD1.5").replace("sd15", "flux"))
    pick(page, "setting_sd_model_checkpoint", "sdxl")
    choose(page, DEFAULT)
    see(page)


@pytest.fixture
def changed(page_host: MiniatureHost) -> Iterator[MiniatureHost]:
    """The host behind the page, which a test may change."""
    before = dict(vars(page_host)), dict(page_host.settings)
    yield page_host
    vars(page_host).update(before[0])
    page_host.settings = before[1]


def toasts(page: Page) -> str:
    return " ".join(page.locator(".toast-body").all_inner_texts())


@pytest.mark.ui
@pytest.mark.parametrize(
    ("change", "method", "sentence"),
    [
        ({}, FROM_FOREGROUND, "needs a foreground picture"),
        ({"family": "sd15"}, DEFAULT, "needs an SDXL checkpoint, but the miniature (sd15) is loaded"),
        ({"inpainting": True}, FROM_FOREGROUND, "cannot use the inpainting checkpoint"),
        ({"settings": {"layerdiffuse_decode_passes": 3}}, DEFAULT, "must be one of 8, adaptive, 4, 2, 1"),
    ],
    ids=["picture", "checkpoint", "inpainting", "setting"],
)
def test_what_went_wrong_is_shown_as_toast_and_under_the_pictures(
    page: Page, changed: MiniatureHost, change: dict[str, Any], method: str, sentence: str
) -> None:
    vars(changed).update(change)
    tick(page)
    choose(page, method)
    see_controls_of(page, method)
    if "inpainting" in change:
        upload(page, Layer.FOREGROUND, picture(width=16, height=12))
    report = generate(page)
    assert sentence in report["error"]
    assert sentence in page.locator("#html_log_txt2img").first.inner_text()
    eventually(page, lambda: sentence in toasts(page), True)


@pytest.mark.ui
def test_a_job_that_works_shows_no_message_and_the_page_is_quiet_afterwards(page: Page) -> None:
    tick(page)
    generate(page)
    page.wait_for_timeout(1000)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.wait_for_timeout(1000)
    assert toasts(page) == ""
    assert asked == []


@pytest.mark.ui
def test_the_same_message_is_shown_each_time(page: Page) -> None:
    tick(page)
    choose(page, FROM_FOREGROUND)
    see_controls_of(page, FROM_FOREGROUND)
    for _ in range(2):
        generate(page)
        eventually(page, lambda: page.locator(".toast-body").count() > 0, True)
        page.locator(".toast-close").first.click()
        eventually(page, lambda: page.locator(".toast-body").count(), 0)


def take_result(page: Page, layer: Layer) -> None:
    element(page, f"{layer.value}_from_result").click()
    element(page, layer.value).locator("img").wait_for()


@pytest.mark.ui
@pytest.mark.parametrize(
    ("layer", "method"), [(Layer.FOREGROUND, FROM_FOREGROUND), (Layer.BACKGROUND, FROM_BACKGROUND)]
)
def test_the_last_transparent_picture_goes_into_a_slot(page: Page, layer: Layer, method: str) -> None:
    tick(page)
    generate(page)
    made = result_picture(page)
    # beside it is the preview, which must not be taken
    assert page.locator("#result img").count() >= 2
    choose(page, method)
    see_controls_of(page, method)
    take_result(page, layer)
    see(page)
    args = generate(page)["args"]
    name = {Layer.FOREGROUND: "fg_image", Layer.BACKGROUND: "bg_image"}[layer]
    np.testing.assert_array_equal(np.array(args[name]), np.asarray(made))


def texts(page: Page, names: list[str]) -> list[str]:
    return [text_of(page, name) for name in names]


def asked_for(page: Page) -> set[str]:
    said = " ".join(advice(page))
    return {layer.value for layer in Layer if f"a {layer.value}" in said}


@pytest.mark.ui
def test_every_published_infotext_shows_in_the_panel(page: Page, subtests: pytest.Subtests) -> None:
    # else the first answer cannot be waited for, as it would change nothing
    element(page, "enabled").locator("input").check()
    for number, (block, (weights, prompts)) in enumerate(zip(BLOCKS, EXPECTED, strict=True)):
        method = next(one for one in METHODS if one.weights.name == weights)
        with subtests.test(str(number)):
            page.locator("#infotext textarea").fill("a cup\nSteps: 1, Seed: 1, Size: 64x64")
            page.locator("#paste").click()
            eventually(page, element(page, "enabled").locator("input").is_checked, False)
            page.locator("#infotext textarea").fill(block)
            page.locator("#paste").click()
            eventually(page, element(page, "enabled").locator("input").is_checked, True)
            see_controls_of(page, method.label)
            assert text_of(page, "method") == method.label
            stop = element(page, "ending_step").locator("input[type=number]").input_value()
            assert float(stop) == (0.5 if weights == "layer_xl_fgble2bg" else 1)
            names = [f"{layer.value}_prompt" for layer in Layer]
            eventually(page, partial(texts, page, names), list(prompts))
            eventually(page, partial(asked_for, page), {layer.value for layer in method.pictures})


@pytest.mark.ui
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
def test_nothing_runs_out_of_the_page(page: Page, page_url: str, theme: str, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 1400})
    page.goto(f"{page_url}?__theme={theme}", wait_until="domcontentloaded")
    page.locator("#generate").wait_for()
    for method in (BLEND_TO_BACKGROUND, TOGETHER):
        choose(page, method)
        see_controls_of(page, method)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        for name in shown(page):
            box = element(page, name).bounding_box()
            assert box is not None
            assert 0 <= box["x"] <= box["x"] + box["width"] <= width, name


@pytest.mark.ui
def test_every_control_has_a_name_and_can_be_reached_by_keyboard(page: Page) -> None:
    from miniature.webui.components import GRADIO_3

    choose(page, BLEND_TO_BACKGROUND)
    see_controls_of(page, BLEND_TO_BACKGROUND)
    unnamed = page.evaluate(
        """() => [...document.querySelectorAll('[id^=script_txt2img_layerdiffuse_]')].flatMap(box =>
            [...box.querySelectorAll('input, textarea, button')]
                .filter(one => one.offsetParent !== null && one.type !== 'file')
                // gradio 3 names a slider, not the number beside it
                .filter(one => one.dataset.testid !== 'number-input')
                .filter(one => !(one.ariaLabel || one.labels?.length || one.innerText.trim() || one.title
                    || one.ariaLabelledByElements?.length))
                .map(one => box.id + ' ' + one.outerHTML.slice(0, 120)))"""
    )
    assert unnamed == []
    element(page, "method").locator("input").focus()
    reached = set()
    for _ in range(40):
        page.keyboard.press("Tab")
        reached |= set(
            page.evaluate(
                """() => { const found = []; for (let e = document.activeElement; e; e = e.parentElement)
                    if (e.id) found.push(e.id.replace('script_txt2img_layerdiffuse_', '')); return found; }"""
            )
        )
    # what gradio 3 makes of an upload takes no focus
    wanted = set() if GRADIO_3 else {"foreground"}
    wanted |= {
        "foreground_from_result",
        "blended_from_result",
        "weight",
        "ending_step",
        "resize_mode",
    }
    assert wanted <= reached


@pytest.mark.ui
def test_picture_slots_are_named_groups(page: Page) -> None:
    choose(page, BLEND_TO_BACKGROUND)
    see_controls_of(page, BLEND_TO_BACKGROUND)
    for name in ("Foreground", "Blending"):
        group = page.get_by_role("group", name=name, exact=True)
        group.wait_for()
        assert group.locator("input[type=file]").count() == 1
        assert group.get_by_role("button", name=f"Last result as {name.lower()}").is_visible()


@pytest.mark.ui
def test_a_saved_default_method_shows_its_controls(browser: Browser, models_dir: Path) -> None:
    """Hosts put the user's saved defaults into the controls once the page is built."""
    import gradio as gr

    script = load_script(lambda: MiniatureHost(models_dir))
    with gr.Blocks(analytics_enabled=False) as demo:
        script.ui(False)[1].value = BLEND_TO_BACKGROUND
        checkpoint = gr.Dropdown(["sdxl"], value="sdxl", elem_id="setting_sd_model_checkpoint")
        script.callbacks["on_after_component"](checkpoint, elem_id="setting_sd_model_checkpoint")
    _, url, _ = demo.launch(server_name="127.0.0.1", prevent_thread_lock=True, quiet=True)
    page = browser.new_page(viewport={"width": 900, "height": 1000})
    page.goto(url, wait_until="domcontentloaded")
    page.locator("#setting_sd_model_checkpoint").wait_for()
    if not element(page, "method").is_visible():
        page.locator("#script_txt2img_layerdiffuse_enabled .label-wrap").first.click()
    see_controls_of(page, BLEND_TO_BACKGROUND)
    page.close()
    demo.server.force_exit = True
    demo.close()


def test_a_control_that_a_host_makes_to_change_another_is_no_part_of_the_page(models_dir: Path) -> None:
    """Handlers of events return a component of the same name; hosts tell of it as of every other."""
    import gradio as gr

    script = load_script(lambda: MiniatureHost(models_dir))
    built = script.callbacks["on_after_component"]
    with gr.Blocks(analytics_enabled=False):
        script.ui(False)
        for name in ("txt2img_sampling", "setting_sd_model_checkpoint"):
            built(gr.Dropdown(["one"], value="one", elem_id=name), elem_id=name)
    for name in ("txt2img_sampling", "setting_sd_model_checkpoint"):
        built(gr.Dropdown(["one", "two"], value="two", elem_id=name), elem_id=name)
