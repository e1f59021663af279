"""One page and one browser for all browser tests: the extension's panel in the miniature WebUI."""

from __future__ import annotations

import html
import itertools
import json
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from lib_layerdiffusion.request.settings import ARGUMENTS
from miniature.nets.random_weights import BaseModel
from miniature.webui.host import MiniatureHost
from miniature.webui.infotext_format import read
from miniature.webui.processing import WebUI
from miniature.webui.script import load_script
from tests.helpers.fresh_networks import fresh
from tests.helpers.jobs import request

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

BROWSERS = ("/usr/bin/chromium", "chromium", "google-chrome", "chromium-browser")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # nothing outside this machine is asked for
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)
JAVASCRIPT = Path(__file__).parents[2] / "javascript" / "layerdiffuse.js"
HOST_JAVASCRIPT = """
    const callbacks = [];
    const onAfterUiUpdate = (callback) => callbacks.push(callback);
    let waiting = null;
    new MutationObserver(() => {
        clearTimeout(waiting);
        waiting = setTimeout(() => callbacks.forEach((callback) => callback()), 100);
    }).observe(document, { childList: true, subtree: true });
"""


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    candidates = [os.environ["CHROMIUM"]] if os.environ.get("CHROMIUM") else BROWSERS
    executable = next(filter(None, map(shutil.which, candidates)), None)
    if executable is None:
        pytest.skip(f"The browser tests need Chromium; there is no {' or '.join(candidates)}.")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def page_host(models_dir: Path) -> MiniatureHost:
    """The host behind the page."""
    return MiniatureHost(models_dir)


@pytest.fixture(scope="session")
def page_webui(base: BaseModel) -> WebUI:
    """The WebUI behind the page."""
    return WebUI(fresh(base))


@pytest.fixture(scope="session")
def page_url(page_host: MiniatureHost, page_webui: WebUI) -> Iterator[str]:
    with served(build_page(load_script(lambda: page_host), page_webui)) as url:
        yield url


@contextmanager
def served(demo: Any) -> Iterator[str]:
    """The address of a gradio page on this machine."""
    from miniature.webui.components import QUEUE

    # gradio's own search for a port leaves a socket open for each one that is taken
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    # as hosts do; gradio 3 has one place in its queue, or no queue, otherwise
    demo.queue(**QUEUE)
    _, url, _ = demo.launch(server_name="127.0.0.1", server_port=port, prevent_thread_lock=True, quiet=True)
    yield url
    # without waiting for what a closed page left in the queue
    demo.server.force_exit = True
    demo.close()


@pytest.fixture(scope="session")
def windows(browser: Browser) -> Iterator[BrowserContext]:
    """One person's windows: each asks for its own results, and all have the page's files in common."""
    with browser.new_context() as context:
        yield context


@pytest.fixture(scope="session")
def tab(windows: BrowserContext) -> Page:
    """One tab for one test after the other: a browser compiles what it knows from before but once."""
    return prepared(windows.new_page())


@pytest.fixture
def page(tab: Page, page_url: str) -> Page:
    return in_tab(tab, page_url)


@contextmanager
def opened(browser: Browser | BrowserContext, page_url: str) -> Iterator[Page]:
    """The page as after opening it, in a window of this person's or, given a browser, of somebody else's."""
    page = prepared(browser.new_page())
    yield at(page, page_url)
    page.close()


def prepared(page: Page) -> Page:
    """What any page in this tab shall have from the start."""
    page.set_default_timeout(15_000)
    page.add_init_script(HOST_JAVASCRIPT + JAVASCRIPT.read_text("utf-8"))
    return page


def in_tab(tab: Page, url: str) -> Page:
    """Return a page as in a tab that was just opened."""
    if tab.url.startswith("http"):
        tab.evaluate("sessionStorage.clear()")
    return at(tab, url)


def at(page: Page, url: str) -> Page:
    """Go to the page of a WebUI, and wait until it is there."""
    page.set_viewport_size({"width": 900, "height": 1000})
    page.goto(url, wait_until="domcontentloaded")
    page.locator("#generate").wait_for()
    return page


def build_page(script: Any, webui: WebUI) -> Any:
    """A WebUI's tab: the panel between a sampler and a checkpoint, a button that pastes settings, Generate.

    The text under the pictures says what went wrong, and a text for the test what Generate did, as JSON.
    """
    import gradio as gr

    from miniature.webui.components import PNG

    built = script.callbacks["on_after_component"]
    jobs = itertools.count(1)

    def generate(*values: Any) -> tuple[list[Image.Image], str, str]:
        args = zip([*(name for name, _ in ARGUMENTS), "page"], values, strict=True)
        report: dict[str, Any] = {
            "args": {name: v.tolist() if isinstance(v, np.ndarray) else v for name, v in args}
        }
        images: list[Image.Image] = []
        shown: list[Image.Image] = []
        said = ""
        try:
            result = webui.process_images(request(webui, script, list(values)))
        except Exception as error:
            report["error"] = str(error)
        else:
            images, shown = result.images, result.extra_images
            report["images"] = [[image.mode, image.size] for image in images]
            report["alpha"] = [i.getchannel("A").getextrema() for i in images if i.mode == "RGBA"]
            report["infotext"] = result.info
            said = "".join(f"<p>{html.escape(line)}</p>" for line in result.comments.splitlines())
        wrong = html.escape(report.get("error", ""))
        text = f"<div class='error'>{wrong}</div>" * bool(wrong) + said + f"<p>job {next(jobs)}</p>"
        return [*images, *shown], json.dumps(report), text

    # hosts build each tab by itself, and then put it into the page
    with gr.Blocks(analytics_enabled=False) as tab:
        sampler = gr.Dropdown(
            ["Euler a", "UniPC", "DPM++ 2M"], value="Euler a", label="Sampler", elem_id="txt2img_sampling"
        )
        built(sampler, elem_id="txt2img_sampling")
        controls = script.ui(False)
        infotext = gr.Textbox(label="Infotext", elem_id="infotext")
        paste_button = gr.Button("Paste", elem_id="paste")
        button = gr.Button("Generate", elem_id="generate")
        gallery = gr.Gallery(label="Result", elem_id="result", columns=4, height=200, **PNG)
        report = gr.Textbox(label="Report", elem_id="report", max_lines=6, interactive=True)
        log = gr.HTML(elem_id="html_log_txt2img")
        fields = script.infotext_fields
        paste_button.click(
            lambda text: paste(fields, text), inputs=[infotext], outputs=[control for control, _ in fields]
        )
        button.click(generate, inputs=controls, outputs=[gallery, report, log])
    with gr.Blocks(analytics_enabled=False) as demo:
        checkpoint = gr.Dropdown(
            ["sdxl", "sd15", "flux"], value="sdxl", label="Checkpoint", elem_id="setting_sd_model_checkpoint"
        )
        built(checkpoint, elem_id="setting_sd_model_checkpoint")
        tab.render()
    return demo


def paste(fields: list[tuple[Any, Any]], infotext: str) -> list[Any]:
    """One gradio update for each field, as a host makes them of a picture's infotext."""
    import gradio as gr

    params = read(infotext)
    updates = []
    for control, key in fields:
        value = key(params)
        updates.append(gr.update() if value is None else gr.update(value=type(control.value)(value)))
    return updates
