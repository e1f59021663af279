"""Scenes for the generator: one concept, one background, and both together, as latents made once.

A scene is drawn from its number alone, so the cache can be made again. The foreground stands in the middle;
see-through concepts are see-through in every scene.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from lib_layerdiffusion.models.encoder_and_decoder import TransparencyEncoder
from lib_layerdiffusion.pictures.arithmetic import FloatImage, Uint8Image, flatten_on_grey
from miniature.nets.autoencoder import AutoencoderKL
from miniature.training import loop
from miniature.training.autoencoder_stage import to_tensor
from miniature.training.backgrounds import PLACES, pattern
from miniature.training.emoji import CONCEPTS, Emoji
from miniature.training.layers import glassy, glowing, over, premultiplied, put, straight
from miniature.training.transparency_stage import encoder_input

SIDE = 128
COUNT, TRANSPARENT = 3000, 1200
"""Scenes in all, and those whose foreground is encoded with its transparency."""
PLACE_SHARE = 0.75
"""Scenes with a place; the others have a pattern."""
SEE_THROUGH = ("wine glass", "cocktail glass", "beer mug", "crystal ball", "droplet", "ghost")
GLOWING = ("fire", "full moon symbol", "white medium star")


class Scene(NamedTuple):
    """`place` is "" for a pattern. Foreground RGBA uint8 [128, 128, 4], the others RGB in [0, 1]."""

    concept: str
    place: str
    foreground: Uint8Image
    background: FloatImage
    blended: FloatImage


def scene(emoji: Emoji, number: int) -> Scene:
    rng = loop.rng("scene", number)
    name = list(CONCEPTS)[number % len(CONCEPTS)]
    layer = premultiplied(emoji.pictures[emoji.names.index(name)])
    look = np.random.default_rng(0)
    if name in SEE_THROUGH:
        layer = glassy(layer, look)
    layer = put(layer, SIDE, rng.uniform(0.74, 0.8), *(0.5 + rng.uniform(-0.02, 0.02, 2)))
    if name in GLOWING:
        layer = glowing(layer, look)
    foreground = straight(layer)
    place = list(PLACES)[rng.integers(len(PLACES))] if rng.random() < PLACE_SHARE else ""
    behind = PLACES[place](rng, SIDE, SIDE) if place else pattern(rng, SIDE, SIDE)
    return Scene(name, place, foreground, behind, over(layer, behind))


class Latents(NamedTuple):
    """Of all scenes, in VAE space, [N, 4, 16, 16] each; `adjusted` is the first foregrounds' with offset."""

    concepts: list[str]
    places: list[str]
    foreground: Tensor
    background: Tensor
    blended: Tensor
    deviation: Tensor
    """Standard deviation of the blended picture's posterior."""
    adjusted: Tensor | None


@torch.inference_mode()
def latents(
    folder: Path, emoji: Emoji, vae: AutoencoderKL, encoder: TransparencyEncoder | None = None
) -> Latents:
    """Those of the cache in `folder`, made if they are missing; `adjusted` only where `encoder` is given.

    They are made and returned on the device of `vae`, where `encoder` must be too.
    """
    device = loop.device_of(vae)
    plain, offsets = folder / "scenes.pt", folder / "scenes-offsets.pt"
    if not plain.exists():
        parts: list[Tensor] = []
        names = []
        for number in tqdm(range(COUNT), "scenes", mininterval=5):
            one = scene(emoji, number)
            names.append((one.concept, one.place))
            pictures = [flatten_on_grey(one.foreground), one.background, one.blended]
            mean, logvar = vae.moments(2 * to_tensor(pictures).to(device) - 1)
            parts.append(torch.cat([mean, torch.exp(0.5 * logvar[[0, 2]])]).cpu())
        torch.save({"names": names, "latents": torch.stack(parts)}, plain)
    if encoder is not None and not offsets.exists():
        made = [
            encoder(encoder_input(scene(emoji, number).foreground)[None].to(device)).cpu()
            for number in tqdm(range(TRANSPARENT), "offsets", mininterval=5)
        ]
        torch.save(torch.cat(made), offsets)
    state = torch.load(plain, weights_only=True)
    concepts, places = zip(*state["names"], strict=True)
    foreground, background, blended, foreground_std, blended_std = state["latents"].to(device).unbind(1)
    adjusted = None
    if encoder is not None:
        offset = torch.load(offsets, weights_only=True).to(device)
        adjusted = foreground[: len(offset)] + foreground_std[: len(offset)] * offset
    return Latents(list(concepts), list(places), foreground, background, blended, blended_std, adjusted)


@torch.inference_mode()
def with_occupied(folder: Path, emoji: Emoji, vae: AutoencoderKL, made: Latents) -> Latents:
    """The same and, before them, scenes whose background is a whole earlier scene, its object included.

    That is what a stack of layers gives from its second object on. The place is the earlier scene's.
    """
    cache = folder / "scenes-occupied.pt"
    if not cache.exists():
        parts: list[Tensor] = []
        earlier: list[int] = []
        for number in tqdm(range(TRANSPARENT), "occupied scenes", mininterval=5):
            rng, one = loop.rng("occupied", number), scene(emoji, number)
            # never the same concept, which goes round with the number
            step = int(rng.integers(1, len(CONCEPTS)))
            earlier.append(
                len(CONCEPTS) * int(rng.integers(COUNT // len(CONCEPTS))) + (number + step) % len(CONCEPTS)
            )
            behind = scene(emoji, earlier[-1]).blended
            blended = over(premultiplied(one.foreground), behind)
            mean, logvar = vae.moments(2 * to_tensor([blended]).to(loop.device_of(vae)) - 1)
            parts.append(torch.cat([mean, torch.exp(0.5 * logvar)]).cpu())
        torch.save({"earlier": earlier, "latents": torch.stack(parts)}, cache)
    state = torch.load(cache, weights_only=True)
    earlier = state["earlier"]
    blended, deviation = state["latents"].to(made.blended).unbind(1)
    count = len(earlier)
    return Latents(
        made.concepts[:count] + made.concepts,
        [made.places[number] for number in earlier] + made.places,
        torch.cat([made.foreground[:count], made.foreground]),
        torch.cat([made.blended[earlier], made.background]),
        torch.cat([blended, made.blended]),
        torch.cat([deviation, made.deviation]),
        None if made.adjusted is None else torch.cat([made.adjusted[:count], made.adjusted]),
    )
