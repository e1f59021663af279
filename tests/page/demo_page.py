"""The page of the demo, for the tests of a file: one family of models, one server, a window for each test."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import pytest

from miniature.webui.demo import Trained
from tests.helpers.trained import quickly
from tests.page.actions import result_picture
from tests.page.conftest import opened, served

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


@pytest.fixture(scope="module")
def demo_url() -> Iterator[str]:
    from miniature.webui.app import build

    trained = Trained()
    with quickly(trained), served(build(trained)) as url:
        yield url


@pytest.fixture
def page(browser: Browser, demo_url: str) -> Iterator[Page]:
    with opened(browser, demo_url) as page:
        yield page


def infotext(page: Page) -> str:
    return page.locator("#infotext textarea").input_value()


def generate(page: Page) -> np.ndarray:
    """Click Generate, and return the first picture: [H, W, 4] of int."""
    page.locator("#infotext textarea").fill("")
    page.locator("#generate").click()
    page.wait_for_function("document.querySelector('#infotext textarea').value !== ''", timeout=60_000)
    page.locator("#result img").first.wait_for()
    return np.asarray(result_picture(page)).astype(int)
