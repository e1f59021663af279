"""RGBA pictures in, RGBA pictures out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from lib_layerdiffusion.files import tensors
from lib_layerdiffusion.methods import FOLDER, SDXL
from lib_layerdiffusion.models.encoder_and_decoder import TransparencyEncoder
from lib_layerdiffusion.pictures.arithmetic import blend
from lib_layerdiffusion.transparency.latents import encode_offset
from miniature.webui.host import MiniatureHost
from miniature.webui.images import resize_image
from miniature.webui.processing import Processed, WebUI
from tests.helpers.jobs import DECODING, arguments, picture, pixels, request

Generate = Callable[..., Processed]


def init_picture(width: int = 120, height: int = 100) -> Image.Image:
    return Image.fromarray(picture(width=width, height=height))


def expected_latent(webui: WebUI, host: MiniatureHost, rgba: Image.Image) -> torch.Tensor:
    """The rule of the released extension: flatten on 127, posterior mean plus offset in its noise's place."""
    grey = Image.new("RGB", rgba.size, (127, 127, 127))
    grey.paste(rgba, mask=rgba)
    x = torch.from_numpy(np.asarray(grey, np.float32) / 255).permute(2, 0, 1)[None] * 2 - 1
    path = host.models_dir() / FOLDER / SDXL.encoder.filename
    with torch.inference_mode():
        encoder = tensors.network(path, TransparencyEncoder.from_state_dict).float()
        mean, logvar = webui.base.vae.moments(x)
        return (mean + torch.exp(logvar / 2) * encode_offset(encoder, np.array(rgba))) * 0.13025


def init_latent(webui: WebUI, script: Any, image: Image.Image, mode: int) -> torch.Tensor:
    p = request(webui, script, arguments(), init_images=[image], resize_mode=mode)
    webui.process_images(p)
    assert p.init_latent is not None
    return p.init_latent


def test_init_latent_is_the_mean_with_the_offset(webui: WebUI, script: Any, host: MiniatureHost) -> None:
    image = init_picture(64, 64)
    latent = init_latent(webui, script, image, mode=0)
    torch.testing.assert_close(latent, expected_latent(webui, host, image), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("mode", [0, 1, 2])
def test_offset_has_the_geometry_of_the_encoded_picture(
    webui: WebUI, script: Any, host: MiniatureHost, mode: int
) -> None:
    # flattening and resizing commute for an opaque picture alone
    image = init_picture().convert("RGB").convert("RGBA")
    latent = init_latent(webui, script, image, mode)
    resized = resize_image(mode, image, 64, 64)
    torch.testing.assert_close(latent, expected_latent(webui, host, resized), atol=1e-4, rtol=1e-4)


def test_the_same_request_gives_the_same_picture(generate: Generate) -> None:
    # the host's own encode draws from the posterior without a seed
    first, second = (pixels(generate(arguments(), init_images=[init_picture()])) for _ in range(2))
    assert (first == second).all()
    off, again = (pixels(generate(init_images=[init_picture()])) for _ in range(2))
    assert (off != again).any()


def test_transparency_of_the_init_picture_matters(generate: Generate) -> None:
    opaque = init_picture(64, 64)
    flat = Image.new("RGBA", opaque.size, (127, 127, 127, 255))
    flat.alpha_composite(opaque)
    seen = pixels(generate(arguments(), init_images=[opaque]))
    hidden = pixels(generate(arguments(), init_images=[flat]))
    assert (seen != hidden).any()


@pytest.mark.parametrize("method", DECODING, ids=lambda m: m.weights.name)
def test_rgba_comes_back(generate: Generate, method: Any) -> None:
    result = generate(arguments(method), init_images=[init_picture()])
    assert [(i.mode, i.size) for i in result.images] == [("RGBA", (64, 64))]


def test_methods_without_foreground_leave_the_init_picture_to_the_host(
    webui: WebUI, script: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "randn_like", torch.zeros_like)
    method = "(SDXL) From Foreground to Blending"
    p = request(webui, script, arguments(method, fg_image=picture()), init_images=[init_picture()])
    result = webui.process_images(p)
    plain = request(webui, script, init_images=[init_picture()])
    webui.process_images(plain)
    assert result.images[0].mode == "RGB"
    assert p.init_latent is not None
    assert plain.init_latent is not None
    assert torch.equal(p.init_latent, plain.init_latent)


@pytest.mark.parametrize("mode", ["RGB", "L", "LA", "P"])
def test_init_pictures_without_alpha_are_opaque(generate: Generate, mode: str) -> None:
    image = init_picture().convert("RGB").convert(mode)
    result = generate(arguments(), init_images=[image])
    same = generate(arguments(), init_images=[image.convert("RGBA")])
    assert (pixels(result) == pixels(same)).all()


def test_every_init_picture_is_encoded(generate: Generate) -> None:
    pictures = [init_picture(), init_picture().transpose(Image.Transpose.ROTATE_180)]
    result = pixels(generate(arguments(), init_images=pictures, batch_size=2))
    assert (result[0] != result[1]).any()
    first = pixels(generate(arguments(), init_images=pictures[:1]))[0]
    second = pixels(generate(arguments(), init_images=pictures[1:], seed=2))[0]
    assert np.abs(result - np.stack([first, second])).max() <= 2


def test_one_init_picture_serves_a_whole_batch(generate: Generate) -> None:
    result = pixels(generate(arguments(), init_images=[init_picture()], batch_size=2, n_iter=2))
    singles = [pixels(generate(arguments(), init_images=[init_picture()], seed=1 + n))[0] for n in range(4)]
    assert np.abs(result - np.stack(singles)).max() <= 2


def test_one_processing_object_with_a_new_init_picture(webui: WebUI, script: Any, generate: Generate) -> None:
    p = request(webui, script, arguments(), init_images=[init_picture()])
    webui.process_images(p)
    turned = init_picture().transpose(Image.Transpose.ROTATE_180)
    p.init_images = [turned]
    second = webui.process_images(p)
    assert (pixels(second) == pixels(generate(arguments(), init_images=[turned]))).all()
    assert p.init_images == [turned]


@pytest.mark.parametrize(("width", "height"), [(100, 75), (64, 64), (203, 91)])
def test_latent_upscale_takes_pictures_of_any_size(generate: Generate, width: int, height: int) -> None:
    result = generate(arguments(), init_images=[init_picture(width, height)], resize_mode=3)
    assert result.images[0].size == (64, 64)


def mask_for(width: int, height: int) -> Image.Image:
    mask = Image.new("L", (width, height))
    mask.paste(255, (width // 4, height // 4, width * 3 // 4, height * 3 // 4))
    mask.paste(128, (width // 4, height // 4, width // 4 + 4, height * 3 // 4))
    return mask


@pytest.mark.parametrize("only_masked", [False, True])
def test_inpainting_changes_nothing_outside_the_mask(generate: Generate, only_masked: bool) -> None:
    original, mask = init_picture(64, 64), mask_for(64, 64)
    result = generate(arguments(), init_images=[original], image_mask=mask, inpaint_full_res=only_masked)
    (after,) = pixels(result)
    before, outside = np.asarray(original), np.asarray(mask) == 0
    assert (after[outside] == before[outside]).all()
    assert (after[~outside] != before[~outside]).any()


def test_only_masked_encodes_the_region_with_its_own_offset(
    webui: WebUI, script: Any, host: MiniatureHost
) -> None:
    image, mask = init_picture(200, 150).convert("RGB").convert("RGBA"), mask_for(200, 150)
    p = request(webui, script, arguments(), init_images=[image], image_mask=mask, inpaint_full_res=True)
    webui.process_images(p)
    assert p.init_latent is not None
    region = resize_image(2, image.crop(mask.getbbox()), 64, 64)
    torch.testing.assert_close(p.init_latent, expected_latent(webui, host, region), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("mode", [0, 1, 2])
def test_outside_the_mask_is_the_picture_resized_as_the_host_does(generate: Generate, mode: int) -> None:
    original, mask = init_picture(120, 80), mask_for(120, 80)
    (after,) = pixels(generate(arguments(), init_images=[original], image_mask=mask, resize_mode=mode))
    outside = np.asarray(resize_image(mode, mask, 64, 64)) == 0
    assert outside.any()
    expected = np.asarray(resize_image(mode, original, 64, 64))
    seen = outside & (expected[..., 3] > 0)
    assert (after[seen] == expected[seen]).all()
    assert (after[outside][:, 3] == expected[outside][:, 3]).all()


@pytest.mark.parametrize("only_masked", [False, True])
def test_resizing_leaves_the_colours_of_what_is_clear(generate: Generate, only_masked: bool) -> None:
    orange = picture(width=150, height=110)
    orange[..., :3] = 255, 160, 20
    mask = mask_for(150, 110)
    settings = {"image_mask": mask, "inpaint_full_res": only_masked}
    (after,) = pixels(generate(arguments(), init_images=[Image.fromarray(orange)], **settings))
    outside = np.asarray(mask if only_masked else resize_image(0, mask, 64, 64)) == 0
    clear = outside & (after[..., 3] == 0)
    assert clear.sum() > 500
    assert (after[clear][:, :3] == (255, 160, 20)).all()


def test_only_masked_returns_the_picture_at_its_own_size(generate: Generate) -> None:
    original, mask = init_picture(200, 150), mask_for(200, 150)
    result = generate(arguments(), init_images=[original], image_mask=mask, inpaint_full_res=True)
    (after,) = pixels(result)
    outside = np.asarray(mask) == 0
    assert after.shape == (150, 200, 4)
    assert (after[outside] == np.asarray(original)[outside]).all()


def test_blend_weighs_colours_by_their_alpha() -> None:
    red, clear_blue = np.array([[[255, 0, 0, 255]]], np.uint8), np.array([[[0, 0, 255, 0]]], np.uint8)
    half = blend(red, clear_blue, np.array([[128]], np.uint8))
    assert half.tolist() == [[[255, 0, 0, 128]]]
    assert blend(red, clear_blue, np.array([[0]], np.uint8)).tolist() == clear_blue.tolist()
    assert blend(red, clear_blue, np.array([[255]], np.uint8)).tolist() == red.tolist()


def test_encode_is_put_back_when_the_host_fails(
    webui: WebUI, script: Any, generate: Generate, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = Image.new("RGBA", (64, 64))
    p = request(webui, script, arguments(), init_images=[broken])
    monkeypatch.setattr(webui.base.vae, "process_in", lambda z: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        webui.answer(p)
    monkeypatch.undo()
    assert p.init_images == [broken]
    assert "init" not in vars(p)
    assert "encode" not in vars(webui)
    assert generate(init_images=[init_picture()]).images[0].mode == "RGB"
