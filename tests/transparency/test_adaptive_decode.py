"""An adaptive decode spends passes where the first two differ, and nowhere else."""

from __future__ import annotations

from unittest.mock import patch

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from benchmarks.decode_passes import HELD_OUT, encoded
from lib_layerdiffusion.files import tensors
from lib_layerdiffusion.methods import SDXL
from lib_layerdiffusion.models.encoder_and_decoder import TransparencyDecoder, TransparencyEncoder
from lib_layerdiffusion.models.strips import StripDecoder
from lib_layerdiffusion.transparency.voting import ORIENTATIONS, PASSES, Region, Votes, regions, vote
from lib_layerdiffusion.transparency.ways import CACHED_STRIP
from miniature.nets.trained import LAYER_FILES

SIZE = 512
ADAPTIVE = Votes(adaptive=True)


class Eye:
    """Stands in for a decoder: alpha is the red channel, off by `noise` times the blue one's corner values.

    Every call is off in another way where blue is not zero, as orientations of a real one are.
    """

    def __init__(self, noise: float) -> None:
        self.noise = noise
        self.sizes: list[tuple[int, int]] = []

    def __call__(self, pixel: Tensor, latent: Tensor) -> Tensor:
        assert latent.shape[-2:] == (pixel.shape[-2] // 8, pixel.shape[-1] // 8)
        self.sizes.append((pixel.shape[-2], pixel.shape[-1]))
        off = self.noise * len(self.sizes) * pixel[:, 2]
        return torch.stack([pixel[:, 0] + off, *pixel.unbind(1)], dim=1)


def scene(*places: tuple[int, int, int, int]) -> tuple[Tensor, Tensor]:
    """A picture of different colours; doubtful in the places (top, bottom, left, right)."""
    pixel = torch.rand(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0)) / 4 + 0.25
    pixel[:, 2] = 0
    for top, bottom, left, right in places:
        pixel[:, 2, top:bottom, left:right] = 1
    return pixel, torch.zeros(1, 4, SIZE // 8, SIZE // 8)


def test_passes_that_agree_are_enough() -> None:
    eye, (pixel, latent) = Eye(0.1), scene()
    done: list[int] = []
    result = vote(eye, pixel, latent, Votes(adaptive=True, each=done.append))
    assert eye.sizes == [(SIZE, SIZE)] * 2
    assert done == [1, 2]
    torch.testing.assert_close(result[1:], pixel[0])


def test_a_place_in_doubt_is_decoded_eight_times_with_what_surrounds_it() -> None:
    eye, (pixel, latent) = Eye(0.05), scene((130, 180, 200, 250))
    done: list[int] = []
    result = vote(eye, pixel, latent, Votes(adaptive=True, each=done.append))
    # one block of 64 in doubt, with one around it
    assert eye.sizes == [(SIZE, SIZE)] * 2 + [(192, 192)] * 6
    assert done == list(range(1, 9))
    doubtful = pixel[0, 2] == 1
    # the fourth of eight
    torch.testing.assert_close(result[0][doubtful], pixel[0, 0][doubtful] + 0.05 * 4)
    torch.testing.assert_close(result[0][~doubtful], pixel[0, 0][~doubtful])
    torch.testing.assert_close(result[1:], pixel[0])


def test_places_far_apart_are_decoded_alone() -> None:
    # four of the six orientations that are left are turned by a quarter
    eye, (pixel, latent) = Eye(0.05), scene((0, 30, 0, 30), (400, 510, 500, 510))
    vote(eye, pixel, latent, ADAPTIVE)
    assert sorted(eye.sizes[2:]) == [(128, 128)] * 6 + [(128, 192)] * 4 + [(192, 128)] * 2


def test_much_doubt_takes_the_eight_passes_as_released() -> None:
    pixel, latent = scene((0, 512, 0, 300))
    eye = Eye(0.05)
    result = vote(eye, pixel, latent, ADAPTIVE)
    assert eye.sizes == [(SIZE, SIZE)] * 8
    order = [*PASSES[2], *(o for o in ORIENTATIONS if o not in PASSES[2])]
    assert len(set(order)) == 8
    torch.testing.assert_close(result, vote(Eye(0.05), pixel, latent))


@pytest.mark.parametrize(("noise", "passes"), [(0.03, 2), (0.14, 8)])
def test_a_hair_is_in_doubt_where_the_difference_is_plain_to_see(noise: float, passes: int) -> None:
    eye = Eye(noise)
    vote(eye, *scene((20, 120, 77, 79)), ADAPTIVE)
    assert len(eye.sizes) == passes


def test_a_colour_that_nobody_sees_is_not_in_doubt() -> None:
    calls: list[int] = []

    def blind(pixel: Tensor, latent: Tensor) -> Tensor:
        calls.append(1)
        return torch.cat([torch.zeros_like(pixel[:, :1]), torch.full_like(pixel, 0.1 * len(calls))], dim=1)

    vote(blind, *scene(), ADAPTIVE)
    assert len(calls) == 2


@pytest.mark.parametrize("seed", range(20))
def test_regions_cover_and_never_overlap(seed: int) -> None:
    generator = np.random.default_rng(seed)
    shape = tuple(generator.integers(1, 14, 2))
    blocks = generator.random(shape) < generator.choice([0.0, 0.03, 0.1, 0.5, 1.0])
    found = regions(blocks)
    covered = np.zeros(shape, int)
    for region in found:
        covered[region.top : region.bottom, region.left : region.right] += 1
    assert covered.max(initial=0) <= 1
    grown = np.pad(blocks, 1)
    around = np.any([grown[y : y + shape[0], x : x + shape[1]] for y in range(3) for x in range(3)], axis=0)
    assert (covered[around] == 1).all()
    assert bool(found) == bool(blocks.any())


def test_a_region_is_a_view_of_its_place() -> None:
    x = torch.arange(24).reshape(1, 4, 6)
    assert Region(1, 2, 0, 2).cut(x, 2).tolist() == [[[12, 13, 14, 15], [18, 19, 20, 21]]]


@torch.inference_mode()
def test_it_comes_closer_to_eight_passes_than_two_do_for_less() -> None:
    """With the miniature's trained decoder, on a picture in the corner of an empty canvas."""
    decoder = tensors.network(LAYER_FILES / SDXL.decoder.filename, TransparencyDecoder.from_state_dict)
    encoder = tensors.network(LAYER_FILES / SDXL.encoder.filename, TransparencyEncoder.from_state_dict)
    rgba = np.zeros((384, 384, 4), np.uint8)
    rgba[:128, :128] = np.asarray(Image.open(HELD_OUT / "beetle.png").convert("RGBA"))
    picture, latent = encoded(rgba, encoder.eval().float())
    pixel = torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255
    strips = StripDecoder(decoder.eval().float(), CACHED_STRIP, "cpu")
    done: list[int] = []

    def alpha(votes: Votes) -> Tensor:
        done.append(0)
        return vote(strips, pixel, latent[None], votes)[0]

    def count(module: StripDecoder, pixel: Tensor, latent: Tensor) -> Tensor:
        done[-1] += pixel.shape[-2] * pixel.shape[-1]
        return decode(module, pixel, latent)

    decode = StripDecoder.__call__
    with patch.object(StripDecoder, "__call__", count):
        eight, two, adaptive = (alpha(votes) for votes in (Votes(), Votes(2), ADAPTIVE))
    assert (adaptive - eight).abs().mean() < 0.5 * (two - eight).abs().mean()
    assert done[2] < 0.6 * done[0]
