"""Init pictures as other programs hand them over, and how often a picture of the request is read."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lib_layerdiffusion.errors import BadPicture, LayerDiffuseError
from lib_layerdiffusion.pictures import reading
from miniature.webui.processing import Processed
from tests.helpers.jobs import CONDITIONED, arguments, picture, pixels

Generate = Callable[..., Processed]


def png(rgba: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(rgba).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


@pytest.mark.parametrize(
    "value", [picture(), png(picture()), f"data:image/png;base64,{png(picture())}", picture() / 255]
)
def test_arrays_and_text_are_init_pictures_too(generate: Generate, value: Any) -> None:
    result = pixels(generate(arguments(), init_images=[value]))
    assert (result == pixels(generate(arguments(), init_images=[Image.fromarray(picture())]))).all()


@pytest.mark.parametrize("value", [None, "", "cup.png", 7, b"raw", np.zeros((4, 4, 7), np.uint8), {}])
def test_no_init_picture_is_one_sentence(generate: Generate, value: Any) -> None:
    with pytest.raises(BadPicture, match=r"init picture.*\.$"):
        generate(arguments(), init_images=[value])


@pytest.mark.parametrize("value", [picture(), np.stack([picture()] * 2), Image.fromarray(picture()), "cup"])
def test_init_pictures_that_are_no_list(generate: Generate, value: Any) -> None:
    with pytest.raises(LayerDiffuseError, match="they must be a list of pictures") as caught:
        generate(arguments(), init_images=value)
    assert caught.value.status_code == 422


def test_a_picture_of_the_request_is_decoded_once(
    generate: Generate, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[bytes] = []
    original = reading.open_picture

    def open_picture(raw: bytes) -> Image.Image:
        opened.append(raw)
        return original(raw)

    monkeypatch.setattr(reading, "open_picture", open_picture)
    generate(arguments(CONDITIONED[0], fg_image=png(picture())))
    assert len(opened) == 1
