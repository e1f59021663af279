"""Every form in which a decode is computed gives the numbers of the plain procedure."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from benchmarks import plain_decode
from lib_layerdiffusion.models import blocks
from lib_layerdiffusion.models.encoder_and_decoder import TransparencyDecoder
from lib_layerdiffusion.models.strips import StripDecoder
from lib_layerdiffusion.transparency.voting import MiddleOf, Votes, vote
from lib_layerdiffusion.transparency.ways import ways

SIZES = [(64, 64), (64, 128), (320, 64)]
TOLERANCE = 5e-5


@pytest.fixture(scope="module")
def decoder() -> TransparencyDecoder:
    """Widths of groups that cut across joined channels; results far from constant."""
    torch.manual_seed(0)
    network = TransparencyDecoder((8, 8, 16, 16, 24, 16, 16)).eval().requires_grad_(False)
    for parameter in network.parameters():
        parameter.normal_(0, 0.15)
    return network


FORMS = ["tuned", "plain forms", "measured apart"]


@pytest.fixture(params=FORMS)
def forms(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What CPUs use, of small pictures too, what every other device does, and what some do besides."""
    for name in ("ORDER_PAYS", "KERNEL_PAYS", "APART_PAYS"):
        monkeypatch.setattr(blocks, name, 0)
    monkeypatch.setattr(blocks, "TUNED", {"cpu"} if request.param == "tuned" else set())
    monkeypatch.setattr(blocks, "APART", {"cpu"} if request.param == "measured apart" else set())


def inputs(size: tuple[int, int], batch: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    return torch.rand(batch, 3, *size), torch.randn(batch, 4, size[0] // 8, size[1] // 8)


@torch.inference_mode()
@pytest.mark.usefixtures("forms")
@pytest.mark.parametrize("size", SIZES)
def test_a_pass(decoder: TransparencyDecoder, size: tuple[int, int]) -> None:
    pixel, latent = inputs(size)
    plain = plain_decode.forward(decoder, pixel, latent)
    assert plain.std() > 0.1
    torch.testing.assert_close(decoder(pixel, latent), plain, atol=TOLERANCE, rtol=0)


@torch.inference_mode()
@pytest.mark.usefixtures("forms")
@pytest.mark.parametrize("forms", FORMS[:2], indirect=True)
@pytest.mark.parametrize(
    ("values", "size"), [(16, SIZES[0]), *((n, size) for n in (300, 5000, 1 << 20) for size in SIZES)]
)
def test_a_pass_in_strips(decoder: TransparencyDecoder, size: tuple[int, int], values: int) -> None:
    """From two rows of every layer at a time to nearly all layers as a whole; twice with the same memory."""
    pixel, latent = inputs(size, batch=2)
    plain = torch.cat([plain_decode.forward(decoder, pixel[n : n + 1], latent[n : n + 1]) for n in range(2)])
    strips = StripDecoder(decoder, values, "cpu")
    first = strips(pixel, latent)
    kept = first.clone()
    torch.testing.assert_close(first, plain, atol=TOLERANCE, rtol=0)
    torch.testing.assert_close(strips(pixel, latent), plain, atol=TOLERANCE, rtol=0)
    assert torch.equal(first, kept)


@torch.inference_mode()
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("size", [1.0, 3000.0])
def test_statistics_measured_apart_hold_in_half_precision(
    dtype: torch.dtype, size: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of values whose squares are more than float16 holds."""
    monkeypatch.setattr(blocks, "APART", {"cpu"})
    monkeypatch.setattr(blocks, "APART_PAYS", 0)
    torch.manual_seed(0)
    norm = blocks.group_norm(16)
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    x = (torch.randn(2, 16, 24, 40) * size + size).to(dtype)
    expected = F.group_norm(x.double(), 4, norm.weight.double(), norm.bias.double())
    found = norm.to(dtype)(x)
    assert found.dtype is dtype
    torch.testing.assert_close(found.double(), expected, atol=8 * torch.finfo(dtype).eps, rtol=0.01)


@torch.inference_mode()
def test_strips_use_their_memory_again(decoder: TransparencyDecoder) -> None:
    strips = StripDecoder(decoder, 300, "cpu")
    strips(*inputs((64, 64)))
    once = {tensor.data_ptr() for tensor in strips.store._free}
    strips(*inputs((64, 64)))
    assert {tensor.data_ptr() for tensor in strips.store._free} == once


@torch.inference_mode()
@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("size", [(64, 64), (64, 128)])
def test_all_ways_of_a_device(decoder: TransparencyDecoder, device: str, size: tuple[int, int]) -> None:
    pixel, latent = inputs(size)
    picture = (pixel[0] * 255).to(torch.uint8)
    plain = plain_decode.decode(decoder, picture[None].float() / 255, latent, "cpu")
    found = ways(torch.device(device), *size, Votes(at_once=2))
    assert len(found) == (2 if device == "cpu" else 5)
    for way in found:
        rgba = torch.from_numpy(way.decode(decoder, latent[0], picture.permute(1, 2, 0).numpy()))
        torch.testing.assert_close(rgba.permute(2, 0, 1)[[3, 0, 1, 2]], plain, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("size", [(1, 1), (2, 5), (7, 4)])
def test_enlarging_and_convolving_in_one(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    x, weight, bias = torch.randn(2, 3, *size), torch.randn(5, 3, 3, 3), torch.randn(5)
    plain = F.conv2d(F.interpolate(x, scale_factor=2, mode="nearest"), weight, bias, padding=1)
    kernel = blocks.enlarging_kernel(weight)
    torch.testing.assert_close(F.conv_transpose2d(x, kernel, bias, stride=2, padding=1), plain)


def test_training_needs_the_values_that_inference_overwrites() -> None:
    torch.manual_seed(0)
    block = blocks.ResnetBlock(8, 8)
    x = torch.randn(1, 8, 4, 4, requires_grad=True)
    assert torch.autograd.gradcheck(block.double(), (x.double(),), eps=1e-5, atol=1e-4)


@pytest.mark.parametrize("count", [1, 2, 4, 8])
def test_the_middle_comes_out_in_any_order(count: int) -> None:
    torch.manual_seed(count)
    results = [torch.randint(0, 5, (4, 6, 7)).float() for _ in range(count)]
    ordered = torch.stack(results).sort(dim=0).values
    expected = ordered[3] if count == 8 else (ordered[(count - 1) // 2] + ordered[count // 2]) / 2
    for order in (results, results[::-1], sorted(results, key=lambda x: float(x.sum()))):
        middle = MiddleOf(count)
        for result in order:
            middle.add(result.clone())
        torch.testing.assert_close(middle.value(), expected, atol=0, rtol=0)


@torch.inference_mode()
def test_a_value_that_is_not_a_number_stays_one(decoder: TransparencyDecoder) -> None:
    pixel, latent = inputs((64, 64))
    calls: list[int] = []

    def decode(pixel: torch.Tensor, latent: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        result = decoder(pixel, latent)
        result[0, 2, 0, 0] = float("nan") if len(calls) == 5 else 0.5
        return result

    assert not torch.isfinite(vote(decode, pixel, latent)).all()


@torch.inference_mode()
@pytest.mark.usefixtures("forms")
@pytest.mark.parametrize("values", [None, 300, 1 << 20])
def test_statistics_of_a_picture_can_be_used_again(decoder: TransparencyDecoder, values: int | None) -> None:
    """For itself they change nothing; for a darker picture they are not those that it has."""
    decode = decoder if values is None else StripDecoder(decoder, values, "cpu")
    norms = [module for module in decoder.modules() if isinstance(module, blocks.PictureNorm)]
    pixel, latent = inputs((128, 192))
    plain = plain_decode.forward(decoder, pixel, latent)
    with blocks.keeping(norms) as found:
        torch.testing.assert_close(decode(pixel, latent), plain, atol=TOLERANCE, rtol=0)
    assert found.keys() == set(norms)
    with blocks.giving(found):
        torch.testing.assert_close(decode(pixel, latent), plain, atol=TOLERANCE, rtol=0)
        as_told = decode(pixel / 2, latent)
    own = decode(pixel / 2, latent)
    torch.testing.assert_close(own, plain_decode.forward(decoder, pixel / 2, latent), atol=TOLERANCE, rtol=0)
    assert (as_told - own).abs().max() > 100 * TOLERANCE


@torch.inference_mode()
@pytest.mark.parametrize("values", [None, 300])
def test_an_adaptive_decode_in_doubt_everywhere_is_the_released_one(
    decoder: TransparencyDecoder, values: int | None
) -> None:
    decode = decoder if values is None else StripDecoder(decoder, values, "cpu")
    pixel, latent = inputs((128, 192))
    adaptive = vote(decode, pixel, latent, Votes(adaptive=True))
    torch.testing.assert_close(adaptive, vote(decoder, pixel, latent), atol=TOLERANCE, rtol=0)
