"""Transparent pictures that are not ours: of models that make RGBA themselves, and of other scripts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from lib_layerdiffusion.hosts import forge_saving
from lib_layerdiffusion.request.options import Options
from miniature.webui.api import answer_with
from miniature.webui.host import MiniatureHost
from miniature.webui.processing import Processed, Processing, WebUI
from tests.helpers.jobs import arguments, picture
from tests.hosts.test_forge_saving import FakeForge, alpha, forge

__all__ = ["forge"]

INFOTEXT = "a cup\nSteps: 2"


@pytest.mark.parametrize("samples_format", ["png", "jpg", "webp"])
@pytest.mark.parametrize("saved_suffix", [".png", ".webp"])
def test_the_setting_keeps_every_alpha(
    forge: FakeForge, tmp_path: Path, samples_format: str, saved_suffix: str
) -> None:
    forge.samples_format = samples_format
    forge.options = Options(keep_every=True, saved_suffix=saved_suffix)
    image, expected = Image.fromarray(picture()), alpha(Image.fromarray(picture()))
    path = forge.save_image(image, tmp_path, INFOTEXT)
    assert path.suffix == saved_suffix
    # in the gallery, and in the answer of the web API
    assert alpha(image) == expected
    assert alpha(forge.answer(image)) == expected
    # the Save button saves the file of the gallery once more
    (tmp_path / "saved").mkdir()
    with Image.open(path) as from_gallery:
        assert alpha(from_gallery) == expected
        again = forge.save_image(from_gallery, tmp_path / "saved", INFOTEXT)
    with Image.open(again) as saved:
        assert alpha(saved) == expected


@pytest.mark.parametrize("make", [lambda image: image.convert("RGB"), lambda image: opaque(image)])
def test_pictures_without_transparency_are_saved_as_always(
    forge: FakeForge, tmp_path: Path, make: Callable[[Image.Image], Image.Image]
) -> None:
    forge.samples_format, forge.options = "jpg", Options(keep_every=True)
    image = make(Image.fromarray(picture()))
    assert forge.save_image(image, tmp_path, INFOTEXT).suffix == ".jpg"
    assert forge.answer(image).format == "JPEG"


def opaque(image: Image.Image) -> Image.Image:
    image.putalpha(255)
    return image


@pytest.fixture
def rgba(webui: WebUI, monkeypatch: pytest.MonkeyPatch) -> WebUI:
    """A model whose VAE gives four channels, as that of Qwen-Image-2.1 does."""
    decode = webui.decode

    def with_alpha(latents: torch.Tensor) -> torch.Tensor:
        pixels = decode(latents)
        return torch.cat([pixels, pixels.mean(1, keepdim=True)], dim=1)

    monkeypatch.setattr(webui, "decode", with_alpha)
    return webui


def test_with_the_panel_off_the_models_own_pictures_are_not_touched(
    rgba: WebUI, generate: Callable[..., Processed]
) -> None:
    (image,) = generate().images
    assert image.mode == "RGBA"
    assert not hasattr(image, forge_saving.MARK)
    alone = Processing(rgba, scripts=[], prompt="a cup made of glass", steps=2, width=64, height=64)
    (plain,) = rgba.process_images(alone).images
    assert np.array_equal(np.asarray(image), np.asarray(plain))


@pytest.mark.parametrize("keep", [False, True])
def test_a_request_may_ask_for_it(rgba: WebUI, script: Any, host: MiniatureHost, keep: bool) -> None:
    rgba.samples_format = "jpg"
    request = {
        "prompt": "a cup",
        "steps": 2,
        "width": 64,
        "height": 64,
        "override_settings": {"layerdiffuse_keep_every": keep},
    }
    answer = answer_with(lambda request: (rgba, script))
    (sent,) = answer("/sdapi/v1/txt2img", request)["images"]
    assert sent.startswith("iVBOR" if keep else "/9j/")


def test_with_the_panel_on_the_family_is_named(
    rgba: WebUI, host: MiniatureHost, generate: Callable[..., Processed]
) -> None:
    host.family, host.title = "", "qwen_image_2.1 (a model of 64 latent channels)"
    with pytest.raises(Exception, match=r"needs an SDXL checkpoint, but .*64 latent channels"):
        generate(arguments())
