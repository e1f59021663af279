"""Scripts that put a batch into another order, or leave some of it out: colours and alpha stay together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lib_layerdiffusion.methods import Layer
from miniature.nets.random_weights import BaseModel
from miniature.webui.host import MiniatureHost
from miniature.webui.processing import WebUI
from miniature.webui.script import load_script
from tests.helpers.fresh_networks import fresh
from tests.helpers.jobs import ONE_PASS, arguments, picture, pixels, request
from tests.helpers.scripts import OtherScript

Order = Callable[[list[Any]], list[Any]]


class Sorter(OtherScript):
    """Puts the pictures of a batch into another order, with their seeds and prompts, as it ought to."""

    def __init__(self, order: Order) -> None:
        self.order = order

    def postprocess_batch_list(self, p: Any, pp: Any, *args: Any, **kwargs: Any) -> None:
        pp.images, p.seeds, p.prompts = map(self.order, (pp.images, p.seeds, p.prompts))


ORDERS: dict[str, Order] = {
    "reversed": lambda images: images[::-1],
    "the last left out": lambda images: images[:-1],
    "the first left out": lambda images: images[1:],
    "the last twice": lambda images: [images[-1], *images],
}


@pytest.fixture(scope="module")
def two_batches(base: BaseModel, models_dir: Path) -> list[np.ndarray]:
    """The pictures of two batches of three that nobody puts into another order."""
    host = MiniatureHost(models_dir)
    host.settings |= ONE_PASS
    webui, script = WebUI(fresh(base)), load_script(lambda: host)
    return list(pixels(webui.process_images(request(webui, script, arguments(), batch_size=3, n_iter=2))))


@pytest.mark.parametrize("first", [True, False], ids=["before ours", "after ours"])
@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
def test_alpha_goes_where_the_picture_goes(
    webui: WebUI, script: Any, two_batches: list[np.ndarray], order: Order, first: bool
) -> None:
    p = request(webui, script, arguments(), batch_size=3, n_iter=2)
    p.scripts = [Sorter(order), script] if first else [script, Sorter(order)]
    wanted = [*order(two_batches[:3]), *order(two_batches[3:])]
    np.testing.assert_array_equal(pixels(webui.process_images(p)), np.stack(wanted))


def test_what_an_inpainting_mask_keeps_goes_along(webui: WebUI, script: Any) -> None:
    mask = Image.new("L", (64, 64))
    mask.paste(255, (0, 0, 32, 64))
    inits = [Image.fromarray(picture(layer, 64, 64)) for layer in (Layer.FOREGROUND, Layer.BLENDED)]
    p = request(webui, script, arguments(), init_images=inits, image_mask=mask, batch_size=2)
    p.scripts = [script, Sorter(ORDERS["reversed"])]
    for one, init in zip(pixels(webui.process_images(p)), inits[::-1], strict=True):
        np.testing.assert_array_equal(one[:, 40:], np.asarray(init)[:, 40:])


def test_pictures_that_were_made_anew_keep_their_places(webui: WebUI, script: Any) -> None:
    plain = webui.process_images(request(webui, script, arguments(), batch_size=2))
    p = request(webui, script, arguments(), batch_size=2)
    p.scripts = [script, Sorter(lambda values: [v.clone() if hasattr(v, "clone") else v for v in values])]
    np.testing.assert_array_equal(pixels(webui.process_images(p)), pixels(plain))
