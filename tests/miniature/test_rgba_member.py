"""The trained member whose VAE has four image channels, through the extension's own path.

Bounds lie between what was measured (miniature/README.md) and what broken code gives.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from lib_layerdiffusion.files import lora
from lib_layerdiffusion.files.layer_patch import merge
from lib_layerdiffusion.methods import ANIMA
from lib_layerdiffusion.models.rgba_vae import RgbaVae
from miniature.measure import quality
from miniature.nets.rgba_member import CHANNELS, WIDTH, SixteenChannelVae, ordinary, with_constants
from miniature.nets.trained import TRAINED_ANIMA
from miniature.nets.unet import UNet
from miniature.training.rgba_generator_stage import LORA, LinearPatch
from miniature.webui.demo import Trained
from miniature.webui.patcher import PREFIX
from tests.helpers.jobs import pixels
from tests.helpers.trained import quickly

LABEL = quality.RGBA_VAE.label


@pytest.fixture(scope="module")
def whole() -> Trained:
    return Trained(ANIMA)


@pytest.fixture
def trained(whole: Trained) -> Iterator[Trained]:
    with quickly(whole):
        yield whole


def test_held_out_pictures_survive_encode_and_decode(trained: Trained) -> None:
    pictures = quality.held_out()
    for kind in (pictures, quality.see_through(pictures)):
        trips = [quality.round_trip(trained, rgba, quality.RGBA_VAE) for rgba in kind.values()]
        assert np.mean([trip.alpha for trip in trips]) < 0.02
        assert max(trip.alpha for trip in trips) < 0.06
        assert np.mean([trip.colour for trip in trips]) < 0.05


def test_generated_pictures_are_transparent_around_an_opaque_subject(trained: Trained) -> None:
    made = quality.generated_together(trained, quality.SOLID, 1, method=LABEL)
    assert np.mean([one.border for one in made]) < 0.35
    for prompt, one in zip(quality.SOLID, made, strict=True):
        assert one.middle > 0.95, prompt
        assert one.border < 0.7, prompt


def test_pictures_are_opaque_without_the_lora(trained: Trained) -> None:
    made = quality.generated_together(trained, quality.SOLID, 1, method=LABEL, weight=0.0)
    for prompt, one in zip(quality.SOLID, made, strict=True):
        assert one.all > 0.98, prompt


def test_hires_fix_with_an_upscaler_of_pixels_keeps_the_shape(trained: Trained) -> None:
    """The host's own VAE, which is between the passes otherwise, makes every pixel opaque."""
    settings = {"prompt": "red apple", "seed": 1}
    first = trained.run([{"method": LABEL}], **settings)
    result = trained.run(
        [{"method": LABEL}],
        **settings,
        enable_hr=True,
        hr_upscaler="Lanczos",
        hr_scale=2.0,
        denoising_strength=0.2,
    )
    shape, enlarged = (pixels(one)[0, ..., 3] > 127 for one in (first, result))
    assert enlarged.shape == (256, 256)
    assert (enlarged[::2, ::2] == shape).mean() > 0.88
    assert 0.2 < shape.mean() < 0.8


# --- what the training builds on
def test_a_lora_merges_to_the_weights_that_were_trained() -> None:
    torch.manual_seed(0)
    unet = UNet(TRAINED_ANIMA)
    patch = LinearPatch(unet, LORA)
    for part in patch.parts.values():
        part.data = (torch.randn(part.shape) * 0.1).half().float()
    trained, tensors = patch.weights(), patch.tensors()
    model = {PREFIX + name: tuple(parameter.shape) for name, parameter in unet.named_parameters()}
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    patches = lora.patches(tensors, lora.fit(shapes, model, "", ""))
    assert {name.removeprefix(PREFIX) for name in patches} == set(trained)
    for name, one in patches.items():
        own = name.removeprefix(PREFIX)
        torch.testing.assert_close(merge(unet.get_parameter(own).data, [(one, 1.0)]), trained[own])


def test_latents_are_moved_and_pictures_stay_the_same() -> None:
    torch.manual_seed(0)
    vae, family = RgbaVae(WIDTH, CHANNELS).eval().requires_grad_(False), SixteenChannelVae()
    x = torch.rand(4, 4, 64, 64) * 2 - 1
    before, decoded = vae.encode(x), vae.decode(vae.encode(x))
    with_constants(vae, before.mean((0, 2, 3)), before.std((0, 2, 3)))
    after = family.process_in(vae.encode(x))
    torch.testing.assert_close(after.mean((0, 2, 3)), torch.zeros(CHANNELS), atol=1e-4, rtol=0)
    torch.testing.assert_close(after.std((0, 2, 3)), torch.ones(CHANNELS), atol=1e-4, rtol=0)
    torch.testing.assert_close(vae.decode(vae.encode(x)), decoded, atol=1e-4, rtol=1e-4)


def test_the_ordinary_vae_is_the_part_for_opaque_pictures() -> None:
    torch.manual_seed(0)
    vae = RgbaVae(WIDTH, CHANNELS).eval().requires_grad_(False)
    host = ordinary(vae)
    rgb = torch.rand(1, 3, 64, 64) * 2 - 1
    latent = vae.encode(torch.cat([rgb, torch.ones_like(rgb[:, :1])], dim=1))
    assert torch.equal(host.decode(latent), vae.decode(latent)[:, :3])
    # at the border the network itself sees a fourth channel of 0 beyond it
    inside = (..., slice(3, -3), slice(3, -3))
    spread = latent[inside].std()
    assert (host.moments(rgb)[0] - latent)[inside].abs().mean() < 0.2 * spread
