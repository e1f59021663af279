"""How good the trained family is, through the extension's own path.

The round trip is measured on pictures that were kept from training (tests/held_out), the generator on what
it learned by heart. Tests compare the same numbers with bounds.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from lib_layerdiffusion.files import tensors
from lib_layerdiffusion.methods import FOLDER, SDXL, Method
from lib_layerdiffusion.models.encoder_and_decoder import TransparencyEncoder
from lib_layerdiffusion.pictures.arithmetic import FloatImage, Uint8Image, flatten_on_grey
from lib_layerdiffusion.transparency.latents import add_offset, encode_offset
from miniature.training.backgrounds import PLACES
from miniature.training.layers import VARIANTS, opaque, over, premultiplied, straight
from miniature.webui.demo import METHOD, SIDE, Trained

HELD_OUT = Path(__file__).resolve().parents[2] / "tests" / "held_out"
ATTENTION, CONVOLUTION = METHOD["layer_xl_transparent_attn"], METHOD["layer_xl_transparent_conv"]
RGBA_VAE = METHOD["anima_rgba_lora"]
SOLID = ("red apple", "lemon", "tomato", "hamburger", "panda", "owl", "car", "present", "star", "pear")
"""Concepts that cover the middle and nothing of the border."""
NAMED = tuple(zip(SOLID, PLACES, range(6), strict=False))
"""Concept, place and seed of the scenes that layers are measured on."""
BORDER, MIDDLE = 6, 24
"""Width of the border and side of the middle, in pixels."""


def held_out() -> dict[str, Uint8Image]:
    return {path.stem: np.asarray(Image.open(path)) for path in sorted(HELD_OUT.glob("*.png"))}


def see_through(pictures: dict[str, Uint8Image]) -> dict[str, Uint8Image]:
    """Each as glass, with a glow or with a shadow in turn."""
    return {
        name: straight(VARIANTS[n % len(VARIANTS)](premultiplied(rgba), np.random.default_rng(n)))
        for n, (name, rgba) in enumerate(pictures.items())
    }


def psnr(a: FloatImage, b: FloatImage, where: NDArray[np.bool_] | None = None) -> float:
    """Of values in [0, 1], where the mask [H, W] is set."""
    error = (a - b) ** 2 if where is None else ((a - b) ** 2)[where]
    return float(-10 * np.log10(max(float(error.mean()), 1e-10)))


def as_float(image: Image.Image | Uint8Image) -> FloatImage:
    return np.asarray(image, np.float32) / np.float32(255)


class RoundTrip(NamedTuple):
    """Mean absolute errors: of alpha, and of the colour of opaque pixels."""

    alpha: float
    colour: float


def round_trip(trained: Trained, rgba: Uint8Image, method: Method = ATTENTION) -> RoundTrip:
    """An RGBA picture through img2img, at the least noise: encoded, one step of the sampler, decoded."""
    start = {"init_images": [Image.fromarray(rgba)], "denoising_strength": 0.0, "cfg_scale": 1.0}
    result = trained.run([{"method": method.label}], **start)
    got, wanted = as_float(result.images[0]), as_float(rgba)
    solid = rgba[..., 3] == 255
    colour = np.abs(got - wanted)[solid][:, :3].mean() if solid.any() else 0.0
    return RoundTrip(float(np.abs(got - wanted)[..., 3].mean()), float(colour))


class Generated(NamedTuple):
    """Mean alpha of the border and of the middle of a picture, and of all of it."""

    border: float
    middle: float
    all: float


def generated(trained: Trained, prompt: str, seed: int, **arguments: object) -> Generated:
    (made,) = generated_together(trained, [prompt], seed, **arguments)
    return made


def generated_together(
    trained: Trained, prompts: Sequence[str], seed: int, **arguments: object
) -> list[Generated]:
    """One batch, a prompt each; seeds count on from `seed`."""
    given = {"method": ATTENTION.label, **arguments}
    result = trained.run([given], prompt=list(prompts), seed=seed, batch_size=len(prompts))
    alphas = [as_float(image)[..., 3] for image in result.images]
    return [Generated(*border_and_middle(alpha), float(alpha.mean())) for alpha in alphas]


def border_and_middle(alpha: FloatImage) -> tuple[float, float]:
    """Mean alpha of each."""
    inside = np.zeros(alpha.shape, bool)
    inside[BORDER:-BORDER, BORDER:-BORDER] = True
    middle = slice((SIDE - MIDDLE) // 2, (SIDE + MIDDLE) // 2)
    return float(alpha[~inside].mean()), float(alpha[middle, middle].mean())


@torch.inference_mode()
def decoding_kept(trained: Trained, rgba: Uint8Image) -> tuple[float, float]:
    """PSNR of the picture on grey, as the base autoencoder decodes it, without and with the offset."""
    path = trained.host.models_dir() / FOLDER / SDXL.encoder.filename
    encoder = tensors.network(path, TransparencyEncoder.from_state_dict).float()
    flat = flatten_on_grey(rgba)
    vae = trained.webui.base.vae
    mean, logvar = vae.moments(2 * torch.from_numpy(flat).permute(2, 0, 1)[None] - 1)
    adjusted = add_offset(mean, logvar, encode_offset(encoder, rgba))
    decoded = [(vae.decode(z)[0] / 2 + 0.5).clamp(0, 1).permute(1, 2, 0).numpy() for z in (mean, adjusted)]
    return psnr(decoded[0], flat), psnr(decoded[1], flat)


class Layers(NamedTuple):
    """A scene whose layers are known: a generated foreground over a background drawn by formula."""

    prompt: str
    place: str
    foreground: Uint8Image
    background: FloatImage
    blended: FloatImage

    @property
    def both(self) -> str:
        """Prompt for the whole scene."""
        return f"{self.prompt}, {self.place}"

    @property
    def solid(self) -> NDArray[np.bool_]:
        return np.asarray(self.foreground[..., 3] >= 250)

    @property
    def empty(self) -> NDArray[np.bool_]:
        return np.asarray(self.foreground[..., 3] <= 5)


def layers(trained: Trained, prompt: str, place: str, seed: int) -> Layers:
    result = trained.run([{"method": ATTENTION.label}], prompt=prompt, seed=seed)
    foreground = np.asarray(result.images[0])
    background = PLACES[place](np.random.default_rng(seed), SIDE, SIDE)
    return Layers(prompt, place, foreground, background, over(premultiplied(foreground), background))


def to_uint8(image: FloatImage) -> Uint8Image:
    return (image * 255).round().clip(0, 255).astype(np.uint8)


def layered(trained: Trained, file: str, scene: Layers, prompt: str) -> FloatImage:
    """What one of the four layer-conditioned methods makes of a scene's layers: RGB or RGBA in [0, 1]."""
    given = {
        "method": METHOD[file].label,
        "fg_image": scene.foreground,
        "bg_image": opaque(scene.background),
        "blend_image": opaque(scene.blended),
    }
    return as_float(trained.run([given], prompt=prompt, seed=5).images[0])


def foreground_kept(trained: Trained, scene: Layers) -> float:
    """PSNR inside the foreground after foreground to blended."""
    result = layered(trained, "layer_xl_fg2ble", scene, scene.both)
    return psnr(result, as_float(scene.foreground)[..., :3], scene.solid)


def background_kept(trained: Trained, scene: Layers) -> float:
    """PSNR outside the foreground after background to blended."""
    result = layered(trained, "layer_xl_bg2ble", scene, scene.both)
    return psnr(result, scene.background, scene.empty)


def background_found(trained: Trained, scene: Layers) -> tuple[float, float]:
    """PSNR where the foreground was, after both to background: to the background, and to the blended."""
    result = layered(trained, "layer_xl_fgble2bg", scene, scene.place)
    return psnr(result, scene.background, scene.solid), psnr(result, scene.blended, scene.solid)


def foreground_found(trained: Trained, scene: Layers) -> float:
    """Mean absolute error of alpha after background and blended to foreground."""
    result = layered(trained, "layer_xl_bgble2fg", scene, scene.prompt)
    return float(np.abs(result[..., 3] - as_float(scene.foreground)[..., 3]).mean())


def found_unprompted(trained: Trained, scene: Layers) -> tuple[float, float]:
    """PSNR of the background where it was visible, and alpha error of the foreground, found without a prompt.

    Only the condition pictures can tell what these are, so each must be in its place.
    """
    background = layered(trained, "layer_xl_fgble2bg", scene, "")
    foreground = layered(trained, "layer_xl_bgble2fg", scene, "")[..., 3]
    error = float(np.abs(foreground - as_float(scene.foreground)[..., 3]).mean())
    return psnr(background, scene.background, scene.empty), error


def scenes(trained: Trained) -> list[Layers]:
    return [layers(trained, prompt, place, seed) for prompt, place, seed in NAMED]
