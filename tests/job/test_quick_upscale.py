"""The host's button that enlarges one picture of the gallery, and the transparency of that picture."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, PngImagePlugin

from lib_layerdiffusion.errors import BadPicture, GenerationFailed, UnsupportedMethod
from lib_layerdiffusion.files import tensors
from lib_layerdiffusion.methods import FOLDER, METHODS, SD15, SDXL
from lib_layerdiffusion.models.encoder_and_decoder import TransparencyEncoder
from lib_layerdiffusion.pictures.reading import flatten
from lib_layerdiffusion.transparency.latents import encode_offset
from miniature.nets.random_weights import BaseModel, base_state_dict, load_base
from miniature.webui import passes
from miniature.webui.checkpoints import Checkpoint
from miniature.webui.host import MiniatureHost
from miniature.webui.images import resize_image
from miniature.webui.processing import Processed, Processing, WebUI
from tests.helpers.jobs import CONDITIONED, arguments, picture, pixels, request
from tests.helpers.sd15_jobs import Generate as Generate15

Generate = Callable[..., Processed]
UPSCALERS = ["Latent", "ESRGAN"]


@pytest.fixture
def given() -> Image.Image:
    return Image.fromarray(picture(width=64, height=64))


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[torch.Tensor]:
    """What each sampling pass starts from."""
    starts: list[torch.Tensor] = []
    run = passes.sample_pass

    def watch(p: Processing, start: torch.Tensor, *args: Any) -> torch.Tensor:
        starts.append(start)
        return run(p, start, *args)

    monkeypatch.setattr(passes, "sample_pass", watch)
    return starts


def hidden(base: BaseModel, host: MiniatureHost, rgba: Image.Image, flat: Image.Image) -> torch.Tensor:
    """The latent of a picture on grey, with its transparency in the place of the posterior's noise."""
    x = torch.from_numpy(np.asarray(flat, np.float32) / 255).permute(2, 0, 1)[None] * 2 - 1
    path = host.models_dir() / FOLDER / SDXL.encoder.filename
    with torch.inference_mode():
        encoder = tensors.network(path, TransparencyEncoder.from_state_dict).float()
        mean, logvar = base.vae.moments(x)
        return (mean + torch.exp(logvar / 2) * encode_offset(encoder, np.array(rgba))) * 0.13025


def enlarged(base: BaseModel, host: MiniatureHost, given: Image.Image, upscaler: str) -> torch.Tensor:
    """What the highres pass is to start from, at twice the size."""
    flat = flatten(given)
    if upscaler == "Latent":
        return torch.nn.functional.interpolate(hidden(base, host, given, flat), (16, 16), mode="bilinear")
    larger, flat = (resize_image(0, one, 128, 128) for one in (given, flat))
    # what cannot be seen keeps its colour
    colours = np.array(resize_image(0, given.convert("RGB"), 128, 128))
    rgba = np.array(larger)
    rgba[..., :3] = np.where(rgba[..., 3:] == 0, colours, rgba[..., :3])
    return hidden(base, host, Image.fromarray(rgba), flat)


@pytest.mark.parametrize("upscaler", UPSCALERS)
def test_a_transparent_picture_is_enlarged_with_its_transparency(
    webui: WebUI,
    host: MiniatureHost,
    generate: Generate,
    started: list[torch.Tensor],
    given: Image.Image,
    upscaler: str,
) -> None:
    result = generate(arguments(), firstpass_image=given, enable_hr=True, hr_upscaler=upscaler)
    assert [(image.mode, image.size) for image in result.images] == [("RGBA", (128, 128))]
    (start,) = started
    # hosts cut their floats off to whole values
    torch.testing.assert_close(start, enlarged(webui.base, host, given, upscaler), atol=1e-3, rtol=1e-2)


@pytest.mark.parametrize("upscaler", UPSCALERS)
def test_every_batch_begins_with_the_picture(
    generate: Generate, started: list[torch.Tensor], given: Image.Image, upscaler: str
) -> None:
    generate(arguments(), firstpass_image=given, enable_hr=True, hr_upscaler=upscaler, n_iter=2)
    assert len(started) == 2
    assert torch.equal(*started)


@pytest.mark.parametrize("upscaler", UPSCALERS)
def test_another_checkpoint_for_hires_fix_encodes_what_it_goes_on_with(
    webui: WebUI,
    host: MiniatureHost,
    generate: Generate,
    started: list[torch.Tensor],
    given: Image.Image,
    upscaler: str,
) -> None:
    own, other = webui.base, Checkpoint(load_base(base_state_dict(seed=2)))
    settings = {"firstpass_image": given, "enable_hr": True, "hr_upscaler": upscaler}
    result = generate(arguments(), hr_checkpoint=other, **settings)
    assert result.images[0].mode == "RGBA"
    # pixels are encoded after they were enlarged, for the second checkpoint
    base = own if upscaler == "Latent" else other.base
    torch.testing.assert_close(started[0], enlarged(base, host, given, upscaler), atol=1e-3, rtol=1e-2)


def test_a_vae_that_was_exchanged_meanwhile_is_noticed(
    webui: WebUI, generate: Generate, given: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    resize = passes.resize_image

    def exchange(*args: Any) -> Any:
        vars(webui).pop("encode")
        return resize(*args)

    monkeypatch.setattr(passes, "resize_image", exchange)
    with pytest.raises(GenerationFailed, match="while the picture was encoded"):
        generate(arguments(), firstpass_image=given, enable_hr=True, hr_upscaler="ESRGAN")


def test_switched_off_the_host_does_as_it_does(
    generate: Generate, started: list[torch.Tensor], given: Image.Image
) -> None:
    with pytest.raises(RuntimeError, match="channels"):
        generate(firstpass_image=given, enable_hr=True)
    result = generate(firstpass_image=given, enable_hr=True, hr_upscaler="ESRGAN")
    assert result.images[0].mode == "RGB"
    assert len(started) == 1


def test_a_method_of_opaque_pictures_takes_a_transparent_one_on_grey(
    generate: Generate, given: Image.Image, started: list[torch.Tensor]
) -> None:
    result = generate(arguments(CONDITIONED[0]), firstpass_image=given, enable_hr=True)
    assert (result.images[0].mode, len(started)) == ("RGB", 1)


def test_nothing_is_left_on_the_request_or_its_copies(
    webui: WebUI, script: Any, started: list[torch.Tensor], given: Image.Image
) -> None:
    p = request(webui, script, arguments(), firstpass_image=given, enable_hr=True)
    first = pixels(webui.answer(p))
    assert p.firstpass_image is given
    p.batch_index = 0
    assert (pixels(webui.answer(copy.copy(p))) == first).all()
    p.script_args, p.hr_upscaler = [False], "ESRGAN"
    assert webui.answer(p).images[0].mode == "RGB"
    assert vars(webui).get("encode") is None


def test_the_preview_is_not_enlarged(generate: Generate, started: list[torch.Tensor]) -> None:
    result = generate(arguments())
    (preview,) = result.extra_images
    with pytest.raises(BadPicture, match=r"preview .* Select the transparent picture"):
        generate(arguments(), firstpass_image=from_page(preview), enable_hr=True)
    assert len(started) == 1
    again = generate(arguments(), firstpass_image=from_page(result.images[0]), enable_hr=True)
    assert again.images[0].mode == "RGBA"


def from_page(image: Image.Image) -> Image.Image:
    """The picture as a page sends it back: hosts show a PNG with those entries of `info` that are text."""
    buffer, metadata = io.BytesIO(), PngImagePlugin.PngInfo()
    for key, value in image.info.items():
        if isinstance(value, str):
            metadata.add_text(key, value)
    image.save(buffer, "PNG", pnginfo=metadata)
    return Image.open(buffer)


def test_a_picture_of_a_scene_is_not_enlarged_alone(
    generate15: Generate15, started: list[torch.Tensor], given: Image.Image
) -> None:
    scene = next(method for method in METHODS if method.family is SD15 and method.frames > 1)
    with pytest.raises(UnsupportedMethod, match="none of them can be upscaled alone"):
        generate15(arguments(scene), firstpass_image=given, enable_hr=True)
    assert not started
