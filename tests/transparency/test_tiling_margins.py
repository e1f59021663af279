"""The margin that the networks see around a picture that goes on at its opposite border."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from lib_layerdiffusion.models.encoder_and_decoder import DECODER_MULTIPLE, TransparencyEncoder
from lib_layerdiffusion.pictures.arithmetic import FloatImage, Uint8Image
from lib_layerdiffusion.transparency import tiling
from lib_layerdiffusion.transparency.latents import encode_offset


def copies(array: np.ndarray, margin: int, shape: tuple[int, ...]) -> np.ndarray:
    """[H, W, ...] beside copies of itself, `shape` of it, from `margin` before its first row and column."""
    height, width = array.shape[:2]
    rows, columns = (np.arange(-margin, full - margin) for full in shape[:2])
    return array[rows[:, None] % height, columns % width]


@pytest.mark.parametrize(("height", "width"), [(64, 64), (72, 200), (136, 64), (512, 320)])
def test_the_decoder_sees_what_lies_beyond_each_border(height: int, width: int) -> None:
    generator = np.random.default_rng(1)
    picture = generator.integers(0, 256, (height, width, 3), np.uint8)
    latent = generator.standard_normal((height // 8, width // 8, 4))
    margin = tiling.DECODER_MARGIN

    def run(given_latent: Tensor, given: Uint8Image) -> FloatImage:
        for side, full in zip((height, width), given.shape, strict=False):
            assert full % DECODER_MULTIPLE == 0
            assert side + 2 * margin <= full < side + 2 * margin + DECODER_MULTIPLE
        assert np.array_equal(given, copies(picture, margin, given.shape))
        seen = given_latent.permute(1, 2, 0).numpy()
        assert np.array_equal(seen, copies(latent, margin // 8, seen.shape))
        assert tuple(8 * side for side in seen.shape[:2]) == given.shape[:2]
        return given.astype(np.float32)

    result = tiling.decode(run, torch.from_numpy(latent).permute(2, 0, 1), picture)
    assert np.array_equal(result, picture)


def test_a_latent_of_another_size_is_decoded_as_it_is() -> None:
    picture, latent = np.zeros((64, 64, 3), np.uint8), torch.zeros(4, 4, 4)
    given = []

    def run(latent: Tensor, picture: Uint8Image) -> FloatImage:
        given.append((latent.shape, picture.shape))
        return picture.astype(np.float32)

    tiling.decode(run, latent, picture)
    assert given == [(latent.shape, picture.shape)]


@pytest.mark.parametrize(("height", "width"), [(64, 64), (72, 200), (16, 24)])
def test_an_encoded_picture_has_no_border(height: int, width: int) -> None:
    """Shifted by whole latent positions it gives the shifted offset, to the last digits."""
    torch.manual_seed(1)
    encoder = TransparencyEncoder().eval()
    rgba = np.random.default_rng(1).integers(1, 256, (height, width, 4), np.uint8)

    @torch.inference_mode()
    def offset(picture: Uint8Image) -> Tensor:
        return tiling.encode(lambda given: encode_offset(encoder, given), picture)

    here, there = offset(rgba), offset(np.roll(rgba, (8, 16), (0, 1)))
    assert here.shape == (1, 4, height // 8, width // 8)
    torch.testing.assert_close(there.roll((-1, -2), (2, 3)), here, rtol=0, atol=1e-5)
