"""What the page says of a picture that did not become a subject on nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from lib_layerdiffusion.job import finished_pictures
from lib_layerdiffusion.pictures.measures import measure
from tests.helpers.drawn import coloured, disc
from tests.page.actions import generate, tick

if TYPE_CHECKING:
    from playwright.sync_api import Page

CLEAN = coloured(disc(64, 20))
THERE = coloured(np.full((64, 64), 255, np.uint8))


@pytest.mark.ui
@pytest.mark.parametrize(("looks", "word"), [(CLEAN, "clean"), (THERE, "failed")], ids=["clean", "failed"])
def test_what_is_not_clean_is_said_under_the_pictures(
    page: Page, monkeypatch: pytest.MonkeyPatch, looks: Any, word: str
) -> None:
    monkeypatch.setattr(finished_pictures, "measure", lambda *given: measure(looks))
    tick(page)
    report = generate(page)
    assert f"layerdiffusion_verdict: {word}" in report["infotext"]
    log = page.locator("#html_log_txt2img").first.inner_text()
    sentence = "The picture: failed. The background is there, not transparent."
    assert (sentence in log) is (word == "failed")
    assert ("try the other injection" in log) is (word == "failed")
