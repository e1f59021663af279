"""Results of several jobs in one gallery: every picture has its own infotext at its place, previews too."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image

from lib_layerdiffusion.methods import Layer
from miniature.webui import infotext_format, selectable
from miniature.webui.host import MiniatureHost
from miniature.webui.processing import Processed, Processing, WebUI
from tests.helpers.jobs import arguments, picture, request

PREVIEWS = pytest.mark.parametrize("previews", [True, False], ids=["previews", "none"])
Begin = Callable[..., Processing]


@pytest.fixture
def begin(webui: WebUI, script: Any, host: MiniatureHost, previews: bool) -> Begin:
    host.settings = {"layerdiffuse_preview": previews}
    return lambda **fields: request(webui, script, arguments(), **fields)


def shown(processed: Processed) -> list[tuple[Image.Image, str]]:
    """What the gallery shows, each with the infotext that the page shows and saves with it."""
    texts = json.loads(processed.js())["infotexts"]
    return list(zip([*processed.images, *processed.extra_images], texts, strict=True))


def prompt_of(text: str) -> str:
    return text.partition("\n")[0]


def see_own_texts(processed: Processed) -> None:
    """Every picture of a job says of itself what the page says of it."""
    for image, text in shown(processed):
        if "parameters" in image.info:
            assert image.info["parameters"] == text


@PREVIEWS
def test_prompts_from_a_file(begin: Begin) -> None:
    prompts = ["a cup", "a vase", "a bowl"]
    processed = selectable.run(selectable.prompts_from_file, begin(), prompts)
    assert [prompt_of(text) for _, text in shown(processed)] == prompts
    assert [image.mode for image in processed.images] == ["RGBA"] * 3
    see_own_texts(processed)


@PREVIEWS
def test_an_xyz_plot(begin: Begin) -> None:
    def apply(cell: Processing, seed: int) -> None:
        cell.seed = seed

    processed = selectable.run(selectable.xyz_plot, begin(), apply, [5, 6])
    seeds = [infotext_format.read(text)["Seed"] for _, text in shown(processed)]
    assert seeds == ["5", "5", "6"]
    see_own_texts(processed)


@PREVIEWS
def test_a_prompt_matrix(begin: Begin) -> None:
    processed = selectable.run(selectable.prompt_matrix, begin(), ["a cup", "blue", "old"])
    texts = [prompt_of(text) for _, text in shown(processed)]
    assert texts == ["a cup", "a cup", "a cup, blue", "a cup, old", "a cup, blue, old"]
    see_own_texts(processed)


@PREVIEWS
def test_a_loopback(begin: Begin) -> None:
    p = begin(init_images=[Image.fromarray(picture(Layer.FOREGROUND, 64, 64))])
    processed = selectable.run(selectable.loopback, p, 2)
    assert [image.mode for image in processed.images] == ["RGBA"] * 3
    assert len(shown(processed)) == 3


@PREVIEWS
def test_a_folder_of_init_pictures(begin: Begin, previews: bool) -> None:
    prompts = ["a cup", "a vase"]
    pictures = [Image.fromarray(picture(Layer.FOREGROUND, 64, 64)) for _ in prompts]
    for init_picture, prompt in zip(pictures, prompts, strict=True):
        init_picture.info["parameters"] = f"{prompt}\nSteps: 2"
    processed = selectable.img2img_batch(begin(), pictures)
    assert [image.mode for image in processed.images] == ["RGBA"] * 2
    # hosts show what is beside the first
    assert [prompt_of(text) for _, text in shown(processed)] == [*prompts, *prompts[:1] * previews]
    see_own_texts(processed)


@PREVIEWS
def test_batches_with_a_grid(begin: Begin, webui: WebUI, previews: bool) -> None:
    webui.grid = True
    processed = webui.process_images(begin(n_iter=2, batch_size=2))
    seeds = [infotext_format.read(text)["Seed"] for _, text in shown(processed)]
    assert seeds == ["1", "1", "2", "3", "4", *["1", "2", "3", "4"] * previews]
    see_own_texts(processed)
    # told once more, as a page and a log do, it is the same
    assert json.loads(processed.js())["infotexts"] == [text for _, text in shown(processed)]
    # and what scripts join is the host's own
    assert len(processed.infotexts) == len(processed.images)


@pytest.mark.parametrize("previews", [True])
def test_previews_of_an_api_that_answers_no_extra_pictures(
    begin: Begin, webui: WebUI, host: MiniatureHost
) -> None:
    host.api_answers_extra_images = False
    p = begin(n_iter=2)
    p.is_api = True
    processed = webui.process_images(p)
    assert [image.mode for image in processed.images] == ["RGBA", "RGBA", "RGB", "RGB"]
    seeds = [infotext_format.read(text)["Seed"] for _, text in shown(processed)]
    assert seeds == ["1", "2", "1", "2"]


@pytest.mark.parametrize("previews", [True])
def test_pictures_that_others_put_beside_ours_have_a_text_too(begin: Begin, webui: WebUI) -> None:
    processed = webui.process_images(begin(extra_result_images=[Image.new("RGB", (8, 8))]))
    assert [text for _, text in shown(processed)] == [processed.info] * 3
