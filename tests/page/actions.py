"""What a person does with the page and sees of it."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

from PIL import Image

from lib_layerdiffusion.methods import Layer, Method, find_method
from lib_layerdiffusion.pictures.arithmetic import Uint8Image

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

ALWAYS = {"enabled", "method"}
LAYERS = [layer.value for layer in Layer]
ELEMENTS = [
    *ALWAYS,
    *LAYERS,
    *(f"{layer}_box" for layer in LAYERS),
    *(f"{layer}_from_result" for layer in LAYERS),
    *(f"{layer}_prompt" for layer in LAYERS),
    "weight",
    "ending_step",
    "repaint",
    "finish",
    "resize_mode",
    "output_origin",
]


def element(page: Page, name: str) -> Locator:
    # gradio 3 gives some elements their id twice
    return page.locator(f"#script_txt2img_layerdiffuse_{name}").first


def text_of(page: Page, name: str) -> str:
    return element(page, name).locator("textarea, input").first.input_value()


def eventually(page: Page, read: Callable[[], Any], wanted: Any) -> None:
    for _ in range(200):
        if read() == wanted:
            return
        page.wait_for_timeout(50)
    assert read() == wanted


def choose(page: Page, method: str) -> None:
    element(page, "method").locator("input").click()
    page.locator(f'ul.options li[aria-label="{method}"]').click()


def tick(page: Page) -> None:
    element(page, "enabled").locator("input").click()


def shown(page: Page) -> set[str]:
    # asked for at once: each question to the browser takes its time
    return set(
        page.evaluate(
            """names => names.filter(name => {
                const found = document.querySelector(`#script_txt2img_layerdiffuse_${name}`);
                const box = found?.getBoundingClientRect();
                return found?.checkVisibility({ visibilityProperty: true }) && box.width && box.height;
            })""",
            ELEMENTS,
        )
    )


def expected(method: Method) -> set[str]:
    pictures = {layer.value for layer in method.pictures}
    names = ALWAYS | {f"{name}{part}" for name in pictures for part in ("", "_box", "_from_result")}
    names |= {f"{layer.value}_prompt" for layer in method.prompts}
    names |= {"resize_mode"} if pictures else set()
    names |= {"finish"} if method.makes_alpha else set()
    names |= {"repaint"} if method.keeps_alpha or method.makes_one_alone else set()
    return names | (set() if method.keeps_alpha else {"weight", "ending_step"})


def see_controls_of(page: Page, method: str) -> None:
    eventually(page, lambda: shown(page), expected(find_method(method)))


def gap(page: Page, upper: str, lower: str) -> float:
    above, below = (element(page, name).bounding_box() for name in (upper, lower))
    assert above is not None
    assert below is not None
    return below["y"] - above["y"] - above["height"]


def upload(page: Page, layer: Layer, pixels: Uint8Image) -> None:
    upload_into(element(page, layer.value), pixels)


def upload_into(box: Locator, pixels: Uint8Image) -> None:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    file: Any = {"name": "picture.png", "mimeType": "image/png", "buffer": buffer.getvalue()}
    box.locator("input[type=file]").set_input_files(file)
    box.locator("img").wait_for()


def generate(page: Page) -> dict[str, Any]:
    """Click Generate; what the page says about it."""
    report = page.locator("#report textarea")
    report.fill("")
    page.locator("#generate").click()
    page.wait_for_function("document.querySelector('#report textarea').value !== ''")
    result: dict[str, Any] = json.loads(report.input_value())
    return result


def result_picture(page: Page) -> Image.Image:
    source = page.locator("#result img").first.get_attribute("src")
    assert source is not None
    with urlopen(source) as response:
        return Image.open(io.BytesIO(response.read()))
