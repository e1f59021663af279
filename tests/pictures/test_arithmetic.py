"""Picture arithmetic where no golden number looks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import pictures
from lib_layerdiffusion.models.encoder_and_decoder import TransparencyDecoder
from lib_layerdiffusion.pictures import arithmetic
from lib_layerdiffusion.pictures.arithmetic import ResizeMode
from lib_layerdiffusion.transparency import latents, voting
from tests.helpers.jobs import picture

sides = st.integers(1, 90)


def checks(height: int, width: int) -> np.ndarray:
    """Black and white squares, opaque: the hardest edges for a resize that overshoots."""
    y, x = np.mgrid[:height, :width]
    grey = ((y // 3 + x // 3) % 2 * 255).astype(np.uint8)
    return np.stack([grey, grey, grey, np.full_like(grey, 255)], axis=-1)


@given(height=sides, width=sides, to_height=sides, to_width=sides, mode=st.sampled_from(ResizeMode))
def test_condition_never_leaves_its_range(
    height: int, width: int, to_height: int, to_width: int, mode: ResizeMode
) -> None:
    rgb = arithmetic.condition_rgb(checks(height, width), mode, to_height, to_width)
    assert rgb.shape == (to_height, to_width, 3)
    assert rgb.dtype == np.float32
    assert rgb.min() >= 0
    assert rgb.max() <= 1


def test_upscaling_overshoots_without_the_clip() -> None:
    fitted = arithmetic.fit(arithmetic.flatten_on_grey(checks(9, 9)), ResizeMode.STRETCH, 40, 40)
    assert fitted.max() > 1


@pytest.mark.parametrize("mode", ResizeMode)
@pytest.mark.parametrize(("height", "width"), [(1, 2000), (2000, 1), (3, 999)])
def test_extreme_side_ratios(mode: ResizeMode, height: int, width: int) -> None:
    rgba = np.full((height, width, 4), 200, np.uint8)
    assert arithmetic.condition_rgb(rgba, mode, 64, 64).shape == (64, 64, 3)


@given(height=sides, width=sides)
def test_padding_keeps_opaque_colours_and_stays_in_range(height: int, width: int) -> None:
    rgba = picture(width=width, height=height)
    padded = arithmetic.pad_colour(rgba)
    opaque = rgba[..., 3] == 255
    np.testing.assert_allclose(padded[opaque], rgba[opaque][:, :3] / 255, atol=1e-6)
    assert padded.min() >= -1e-6
    assert padded.max() <= 1 + 1e-6


def random_rgba(height: int, width: int, kind: str) -> np.ndarray:
    rgba = np.random.default_rng(height * 1000 + width).integers(0, 256, (height, width, 4), dtype=np.uint8)
    if kind == "cut out":
        rgba[..., 3] = (rgba[..., 3] > 128) * 255
    elif kind != "soft":
        rgba[..., 3] = 255 if kind == "opaque" else 0
    return rgba


@pytest.mark.parametrize("kind", ["soft", "cut out", "opaque", "clear"])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 9), (9, 1), (67, 130), (2050, 70), (3, 140_000)])
def test_pictures_are_those_of_the_plain_formulas(height: int, width: int, kind: str) -> None:
    """Also where a picture is worked on in several blocks, or is narrower or wider than one."""
    rgba, other = random_rgba(height, width, kind), random_rgba(height, width + 1, "soft")[:, 1:]
    mask = np.where(other[..., 0] > 200, 255, np.where(other[..., 1] > 200, 0, other[..., 2])).astype(
        np.uint8
    )
    beyond = (rgba / np.float32(200) - np.float32(0.1)).astype(np.float32)
    np.testing.assert_allclose(arithmetic.pad_colour(rgba), pictures.pad_colour(rgba), atol=1e-6, rtol=0)
    for name, arguments in {
        "flatten_on_grey": (rgba,),
        "to_uint8": (beyond,),
        "preview": (beyond,),
        "checkerboard": (height, width),
        "blend": (rgba, other, mask),
    }.items():
        ours, plain = getattr(arithmetic, name)(*arguments), pictures.PLAIN[name](*arguments)
        assert ours.dtype == plain.dtype, name
        np.testing.assert_array_equal(ours, plain, err_msg=name)


def test_nothing_that_was_handed_over_is_changed() -> None:
    rgba, other = random_rgba(30, 40, "soft"), random_rgba(40, 30, "soft").reshape(30, 40, 4)
    kept = rgba.copy(), other.copy()
    arithmetic.pad_colour(rgba)
    arithmetic.blend(rgba, other, other[..., 0])
    as_float = rgba / np.float32(255)
    arithmetic.preview(as_float)
    arithmetic.to_uint8(as_float)
    np.testing.assert_array_equal(rgba, kept[0])
    np.testing.assert_array_equal(other, kept[1])
    np.testing.assert_array_equal(as_float, kept[0] / np.float32(255))


def test_preview_shows_the_board_where_nothing_is() -> None:
    rgba = np.zeros((130, 70, 4), np.float32)
    rgba[:, :3] = 1
    shown = arithmetic.preview(rgba)
    assert shown[0, 0].tolist() == [255] * 3
    assert shown[0, 10].tolist() == [114] * 3
    assert shown[64, 10].tolist() == [140] * 3
    assert shown[64, 65].tolist() == [114] * 3


@pytest.fixture(scope="module")
def decoder() -> TransparencyDecoder:
    torch.manual_seed(0)
    return TransparencyDecoder((8, 8, 8, 8, 8, 16, 16)).eval()


@torch.inference_mode()
def test_multiples_of_64_are_decoded_as_they_are(decoder: TransparencyDecoder) -> None:
    rgb, latent = picture(width=128, height=64)[..., :3], torch.randn(4, 8, 16)
    pixel = torch.from_numpy(np.ascontiguousarray(rgb)).permute(2, 0, 1)[None].float() / 255
    alpha_rgb = voting.vote(decoder, pixel, latent[None])
    rgba = latents.decode_rgba(decoder, latent, rgb)
    np.testing.assert_array_equal(rgba, alpha_rgb[[1, 2, 3, 0]].permute(1, 2, 0).numpy())


@torch.inference_mode()
def test_other_sizes_are_extended_by_their_border(decoder: TransparencyDecoder) -> None:
    rgb, latent = picture(width=104, height=40)[..., :3], torch.randn(4, 5, 13)
    wide = np.pad(rgb, [(0, 24), (0, 24), (0, 0)], mode="edge")
    wide_latent = torch.from_numpy(np.pad(latent.numpy(), [(0, 0), (0, 3), (0, 3)], mode="edge"))
    expected = latents.decode_rgba(decoder, wide_latent, wide)[:40, :104]
    np.testing.assert_array_equal(latents.decode_rgba(decoder, latent, rgb), expected)


@torch.inference_mode()
@pytest.mark.parametrize(("width", "height"), [(64, 64), (71, 93)])
def test_a_latent_of_another_picture_counts_as_zero(
    decoder: TransparencyDecoder, width: int, height: int
) -> None:
    rgb = picture(width=width, height=height)[..., :3]
    first, second = (latents.decode_rgba(decoder, torch.randn(4, 3, 3), rgb) for _ in range(2))
    assert first.shape == (height, width, 4)
    np.testing.assert_array_equal(first, second)


@torch.inference_mode()
def test_vote_does_not_depend_on_the_orientation(decoder: TransparencyDecoder) -> None:
    pixel, latent = torch.rand(1, 3, 64, 128), torch.randn(1, 4, 8, 16)
    straight = voting.vote(decoder, pixel, latent)
    turned = voting.vote(decoder, pixel.rot90(1, (-2, -1)), latent.rot90(1, (-2, -1)))
    torch.testing.assert_close(turned.rot90(-1, (-2, -1)), straight, atol=1e-5, rtol=0)
