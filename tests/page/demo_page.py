"""The page of the demo, for the tests of a file: one family of models and one server for all of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import pytest

from miniature.webui.demo import Trained
from tests.helpers.trained import quickly
from tests.page.actions import result_picture
from tests.page.conftest import in_tab, served

if TYPE_CHECKING:
    from playwright.sync_api import Page


@pytest.fixture(scope="module")
def demo_url() -> Iterator[str]:
    from miniature.webui.app import build

    trained = Trained()
    with quickly(trained), served(build(trained)) as url:
        yield url


@pytest.fixture
def page(tab: Page, demo_url: str) -> Page:
    return in_tab(tab, demo_url)


def infotext(page: Page) -> str:
    return page.locator("#infotext textarea").input_value()


def generate(page: Page) -> np.ndarray:
    """Click Generate, and return the first picture: [H, W, 4] of int."""
    page.locator("#infotext textarea").fill("")
    page.locator("#generate").click()
    page.wait_for_function("document.querySelector('#infotext textarea').value !== ''", timeout=60_000)
    page.locator("#result img").first.wait_for()
    return np.asarray(result_picture(page)).astype(int)
