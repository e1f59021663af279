"""Many people at one WebUI: nobody sees what came of another's job, and no page what a program asked for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from lib_layerdiffusion.errors import LayerDiffuseError
from lib_layerdiffusion.methods import Layer
from lib_layerdiffusion.page.latest import WINDOWS, Latest
from miniature.webui.processing import Processing, WebUI
from tests.helpers.jobs import arguments, picture, request
from tests.page.actions import (
    choose,
    element,
    eventually,
    generate,
    result_picture,
    see_controls_of,
    tick,
    upload,
)
from tests.page.conftest import opened

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

FROM_FOREGROUND = "(SDXL) From Foreground to Blending"
NEEDED = "needs a foreground picture"
NOTHING_YET = "LayerDiffuse has made no picture in this window since the WebUI was started."


@pytest.fixture
def other(browser: Browser, page_url: str) -> Iterator[Page]:
    """The same page in another person's browser."""
    with opened(browser, page_url) as page:
        yield page


def toasts(page: Page) -> str:
    return " ".join(page.locator(".toast-body").all_inner_texts())


def make_a_picture(page: Page) -> np.ndarray:
    """Generate, and open the slot for a foreground; returns the picture."""
    tick(page)
    generate(page)
    choose(page, FROM_FOREGROUND)
    see_controls_of(page, FROM_FOREGROUND)
    return np.asarray(result_picture(page))


def taken(page: Page) -> np.ndarray:
    """What "Last result as foreground" puts into the slot."""
    element(page, "foreground_from_result").click()
    element(page, "foreground").locator("img").wait_for()
    return np.array(generate(page)["args"]["fg_image"])


@pytest.mark.ui
def test_the_last_result_is_that_of_ones_own_browser(page: Page, other: Page) -> None:
    made = make_a_picture(page)
    choose(other, FROM_FOREGROUND)
    see_controls_of(other, FROM_FOREGROUND)
    element(other, "foreground_from_result").click()
    eventually(other, lambda: NOTHING_YET in toasts(other), True)
    assert element(other, "foreground").locator("img").count() == 0
    # neither by turns
    tick(other)
    upload(other, Layer.FOREGROUND, picture(width=16, height=12))
    generate(other)
    np.testing.assert_array_equal(taken(page), made)


@pytest.mark.ui
def test_reloading_the_page_keeps_its_results(page: Page) -> None:
    made = make_a_picture(page)
    page.reload(wait_until="domcontentloaded")
    page.locator("#generate").wait_for()
    tick(page)
    choose(page, FROM_FOREGROUND)
    see_controls_of(page, FROM_FOREGROUND)
    np.testing.assert_array_equal(taken(page), made)


@pytest.mark.ui
def test_a_browser_without_storage_gets_its_results_too(other: Page) -> None:
    other.add_init_script(
        'Object.defineProperty(window, "sessionStorage", { get() { throw new Error("denied"); } })'
    )
    other.reload(wait_until="domcontentloaded")
    other.locator("#generate").wait_for()
    made = make_a_picture(other)
    np.testing.assert_array_equal(taken(other), made)


def fail_in_another_way(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    def sample(p: Any) -> None:
        raise RuntimeError("out of paper")

    with monkeypatch.context() as patch:
        patch.setattr(Processing, "sample", sample)
        assert generate(page)["error"] == "out of paper"
    # the page asks whether there is anything to say about it
    page.wait_for_timeout(1000)


@pytest.mark.ui
def test_what_went_wrong_is_said_to_whom_it_went_wrong_for(
    page: Page, other: Page, page_webui: WebUI, monkeypatch: pytest.MonkeyPatch
) -> None:
    tick(other)
    choose(other, FROM_FOREGROUND)
    see_controls_of(other, FROM_FOREGROUND)
    other.locator("#generate").click()
    fail_in_another_way(page, monkeypatch)
    assert toasts(page) == ""
    eventually(other, lambda: NEEDED in toasts(other), True)


@pytest.mark.ui
def test_what_nobody_asked_for_is_not_said_about_a_later_job(
    page: Page, page_webui: WebUI, monkeypatch: pytest.MonkeyPatch
) -> None:
    tick(page)
    choose(page, FROM_FOREGROUND)
    see_controls_of(page, FROM_FOREGROUND)
    # by this the page would ask
    element(page, "message").evaluate("button => button.remove()")
    assert NEEDED in generate(page)["error"]
    page.reload(wait_until="domcontentloaded")
    page.locator("#generate").wait_for()
    fail_in_another_way(page, monkeypatch)
    assert toasts(page) == ""


PAGE = "window1 script_txt2img_"


@pytest.mark.parametrize("is_api", [True, False])
def test_a_job_of_the_web_api_reaches_no_page(webui: WebUI, script: Any, is_api: bool) -> None:
    latest = script.handlers.latest
    broken, fine = (
        request(webui, script, [*arguments("?"), PAGE]),
        request(webui, script, [*arguments(), PAGE]),
    )
    broken.is_api = fine.is_api = is_api
    with pytest.raises(LayerDiffuseError) as failed:
        webui.process_images(broken)
    assert latest.take_message(PAGE) == ("" if is_api else str(failed.value))
    webui.process_images(fine)
    assert (latest.picture_for(PAGE, Layer.FOREGROUND) is None) is is_api


def test_a_job_without_a_page_keeps_nothing(webui: WebUI, script: Any) -> None:
    webui.process_images(request(webui, script, arguments()))
    assert script.handlers.latest.picture_for("", Layer.FOREGROUND) is None


def test_pictures_go_from_tab_to_tab_and_messages_stay_in_theirs() -> None:
    latest = Latest()
    latest.keep("one txt2img", Layer.FOREGROUND, Image.new("RGBA", (2, 2)))
    latest.tell("one txt2img", "broken")
    assert latest.picture_for("one img2img", Layer.FOREGROUND) is not None
    assert latest.picture_for("two txt2img", Layer.FOREGROUND) is None
    assert [latest.take_message(page) for page in ("one img2img", "two txt2img")] == ["", ""]
    assert latest.take_message("one txt2img") == "broken"
    assert latest.take_message("one txt2img") == ""


def test_the_newest_fitting_picture_is_taken() -> None:
    latest = Latest()
    assert latest.picture_for("page", Layer.FOREGROUND) is None
    rgba, background = (Image.new(mode, (2, 2)) for mode in ("RGBA", "RGB"))
    latest.keep("page", Layer.FOREGROUND, rgba)
    found = latest.picture_for("page", Layer.BACKGROUND)
    assert found is not None
    assert found.shape == (2, 2, 4)
    latest.keep("page", Layer.BACKGROUND, background)
    rgba.putalpha(255)
    for layer, channels in ((Layer.BACKGROUND, 3), (Layer.FOREGROUND, 4), (Layer.BLENDED, 4)):
        found = latest.picture_for("page", layer)
        assert found is not None
        assert found.shape[2] == channels
    assert found is not None
    assert found[..., 3].max() == 0


def test_windows_that_are_not_used_any_more_are_forgotten() -> None:
    latest = Latest()
    for number in range(WINDOWS):
        latest.keep(f"{number} tab", Layer.FOREGROUND, Image.new("RGBA", (1, 1)))
    latest.tell("0 tab", "still here")
    # asking makes nobody last longer, nor anything of who never had a job
    for number in range(3 * WINDOWS):
        assert latest.picture_for(f"guess{number} tab", Layer.FOREGROUND) is None
    latest.keep("new tab", Layer.FOREGROUND, Image.new("RGBA", (1, 1)))
    kept = [n for n in range(WINDOWS) if latest.picture_for(f"{n} tab", Layer.FOREGROUND) is not None]
    assert kept == [0, *range(2, WINDOWS)]
