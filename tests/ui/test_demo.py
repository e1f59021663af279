"""The page that `python dev.py demo` opens, clicked through."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from lib_layerdiffusion import weights
from miniature.demo import Trained
from miniature.trained import LAYER_FILES
from tests.ui.actions import element, eventually, result_picture, tick
from tests.ui.conftest import opened, served

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.ui


@pytest.fixture
def page(browser: Browser, tmp_path: Path) -> Iterator[Page]:
    from miniature.app import build

    shutil.copytree(LAYER_FILES, tmp_path / weights.FOLDER)
    with served(build(Trained(tmp_path))) as url, opened(browser, url) as page:
        yield page


def infotext(page: Page) -> str:
    return page.locator("#infotext textarea").input_value()


def generate(page: Page) -> np.ndarray:
    page.locator("#infotext textarea").fill("")
    page.locator("#generate").click()
    page.wait_for_function("document.querySelector('#infotext textarea').value !== ''", timeout=60_000)
    page.locator("#result img").first.wait_for()
    return np.asarray(result_picture(page)).astype(int)


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


def test_a_method_of_the_other_family_is_answered_with_a_sentence(page: Page) -> None:
    tick(page)
    element(page, "method").locator("input").click()
    page.locator("ul.options li", has_text="(SD1.5) Only Generate").first.click()
    page.locator("#generate").click()
    error = page.locator("#html_log_txt2img .error")
    error.wait_for()
    assert "needs an SD1.5 checkpoint" in error.inner_text()
