"""The section of the Extras tab, in a browser: folded away, and every control is a value of the finish."""

from __future__ import annotations

import gc
import json
from typing import TYPE_CHECKING, Any

import gradio as gr
import pytest

from lib_layerdiffusion.page import extras_panel
from lib_layerdiffusion.request.finish import NAMES, VALUES
from tests.page.conftest import served

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator


@pytest.mark.ui
# gradio 3 leaves sockets of a second page's queue to the garbage collector
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_what_the_section_says_arrives_by_name(browser: Browser) -> None:
    with gr.Blocks(analytics_enabled=False) as demo:
        controls: dict[str, Any] = extras_panel.build("LayerDiffuse Finish", "enabled", "atlas")
        said = gr.Textbox(label="Said", elem_id="said")
        button = gr.Button("Generate", elem_id="generate")
        button.click(
            lambda *values: json.dumps(dict(zip(controls, values, strict=True))),
            inputs=list(controls.values()),
            outputs=[said],
        )
    assert set(controls) == {"enabled", "atlas", *NAMES}
    with served(demo) as url:
        page = browser.new_page()
        page.set_default_timeout(15_000)
        page.goto(url, wait_until="domcontentloaded")

        def control(name: str) -> Locator:
            return page.locator(f"#extras_layerdiffuse_{name}").first

        control("finish").get_by_text("LayerDiffuse Finish", exact=True).click()
        control("enabled").locator("input").check()
        control("trim").locator("input").check()
        control("choke").locator("input[type=number]").fill("1.5")
        control("outline").locator("input, textarea").first.fill("3,#ffffff")
        control("outline").locator("input, textarea").first.blur()
        page.locator("#generate").click()
        page.wait_for_function("document.querySelector('#said textarea, #said input').value !== ''")
        told = json.loads(page.locator("#said textarea, #said input").first.input_value())
        page.close()
    gc.collect()
    expected = {value.name: value.default for value in VALUES}
    assert told == {
        **expected,
        "enabled": True,
        "atlas": False,
        "trim": True,
        "choke": 1.5,
        "outline": "3,#ffffff",
    }
