"""The base UNet over the latents of the VAE with four image channels, and the LoRA that makes it draw layers.

The base knows opaque pictures alone, as the host's own VAE would encode them; the LoRA moves what it draws
to the latents of RGBA pictures. Both read the text encoder that the SDXL-like base resulted in.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from lib_layerdiffusion.methods import ANIMA
from lib_layerdiffusion.models.rgba_vae import RgbaVae
from lib_layerdiffusion.request.trigger_words import with_words
from lib_layerdiffusion.transparency.rgba_codec import network_input
from miniature.nets.rgba_member import SixteenChannelVae, ordinary, with_constants
from miniature.nets.schedule import NoiseSchedule
from miniature.nets.text_encoder import TextEncoder
from miniature.nets.trained import TRAINED_ANIMA
from miniature.nets.unet import UNet
from miniature.training import denoising, loop, rgba_vae_stage
from miniature.training.autoencoder_stage import write_sheet
from miniature.training.denoising import Predict, sample
from miniature.training.drawn_scenes import COUNT, TRANSPARENT, Latents, scene
from miniature.training.emoji import Emoji
from miniature.training.generator_stage import BATCH, EMBEDDINGS, Patch, Task, prompt
from miniature.training.layers import opaque

BASE = Task("base_anima", (), "blended", "both")
LORA = Task("anima_rgba_lora", (), "foreground", "concept", rank=24)
PLACE_ALONE_SHARE = 0.12
WORDS_SHARE = {BASE.file: 0.1, LORA.file: 0.5}
"""Prompts that begin with the trigger words. To the base they mean nothing."""


@torch.inference_mode()
def vae(folder: Path, emoji: Emoji) -> RgbaVae:
    """What the stage before resulted in, its latents moved and scaled to the constants of the family."""
    trained = rgba_vae_stage.trained(folder)
    pictures = [network_input(opaque(scene(emoji, number).blended)) for number in range(64)]
    latents = trained.encode(torch.stack(pictures))
    return with_constants(trained, latents.mean((0, 2, 3)), latents.std((0, 2, 3)))


@torch.inference_mode()
def latents(folder: Path, emoji: Emoji, network: RgbaVae) -> Latents:
    """Those of all scenes in VAE space, [N, 16, 16, 16] each, the foregrounds' for the first ones alone.

    From the cache in `folder`, made if it is missing, on the device of `network`.
    """
    cache, device = folder / "scenes-rgba.pt", loop.device_of(network)
    if not cache.exists():
        names, made = [], []
        for number in tqdm(range(COUNT), "RGBA scenes", mininterval=5):
            one = scene(emoji, number)
            names.append((one.concept, one.place))
            pictures = [opaque(one.background), opaque(one.blended)]
            pictures += [one.foreground] if number < TRANSPARENT else []
            made.append(network.encode(torch.stack([*map(network_input, pictures)]).to(device)).cpu())
        state = {"background": [m[0] for m in made], "blended": [m[1] for m in made]}
        state["foreground"] = [m[2] for m in made[:TRANSPARENT]]
        torch.save({"names": names} | {key: torch.stack(part) for key, part in state.items()}, cache)
    state = torch.load(cache, weights_only=True)
    concepts, places = zip(*state["names"], strict=True)
    background, blended, foreground = (
        state[key].to(device) for key in ("background", "blended", "foreground")
    )
    return Latents(list(concepts), list(places), foreground, background, blended, blended[:0], None)


class LinearPatch(Patch):
    """A LoRA on every linear layer but the embeddings'; the published one has none elsewhere."""

    def covers(self, name: str, weight: Tensor) -> bool:
        return weight.ndim == 2 and not EMBEDDINGS.search(name)

    def tensors(self) -> dict[str, Tensor]:
        """Those of the file, in ComfyUI's spelling."""
        kinds = {"lora::0": "lora_B", "lora::1": "lora_A"}
        return {
            f"{key.removesuffix(f'.weight::{old}')}.{new}.weight": value
            for key, value in super().tensors().items()
            for old, new in kinds.items()
            if key.endswith(old)
        }


def losses(
    plan: loop.Plan, task: Task, made: Latents, host: SixteenChannelVae, text: TextEncoder, predict: Predict
) -> loop.Loss:
    schedule = NoiseSchedule()
    clean_of = host.process_in(getattr(made, task.target))
    background = host.process_in(made.background)

    def loss(step: int) -> dict[str, Tensor]:
        rng = loop.rng(plan.name, step)
        chosen = rng.integers(len(clean_of), size=BATCH)
        clean = clean_of[chosen]
        prompts = [prompt(made, int(n), task.prompts, rng) for n in chosen]
        if task is BASE:
            for n in np.flatnonzero(rng.random(BATCH) < PLACE_ALONE_SHARE):
                clean[n], prompts[n] = background[chosen[n]], made.places[chosen[n]]
        for n in np.flatnonzero(rng.random(BATCH) < WORDS_SHARE[task.file]):
            prompts[n] = with_words(prompts[n], ANIMA.words)
        timestep = denoising.timesteps(schedule, rng, BATCH).to(clean.device)
        with torch.no_grad():
            context, vector = text(prompts)
        return denoising.losses(schedule, clean, timestep, lambda x: predict(x, timestep, context, vector))

    return loss


def sheet(
    task: Task, made: Latents, network: RgbaVae, host: SixteenChannelVae, text: TextEncoder, predict: Predict
) -> Callable[[Path], None]:
    @torch.inference_mode()
    def write(path: Path) -> None:
        rng = loop.rng("sheet", 2)
        prompts = [prompt(made, n, task.prompts, rng) for n in range(0, 80, 10)]
        result = host.process_out(sample(predict, text, prompts, channels=host.mean.shape[1]))
        rgba = (network.decode(result) / 2 + 0.5).clamp(0, 1)
        colour, alpha = rgba[:, :3], rgba[:, 3:]
        print(f"\n{prompts}", flush=True)
        write_sheet(path, [colour * alpha + (1 - alpha) / 2, alpha.expand(-1, 3, -1, -1)])

    return write


def train_base(folder: Path, made: Latents, network: RgbaVae, text: TextEncoder, steps: int) -> None:
    torch.manual_seed(7)
    unet, host = UNet(TRAINED_ANIMA).to(loop.device_of(network)), ordinary(network)
    plan = loop.Plan(BASE.file, steps, 1.5e-3)
    loss = losses(plan, BASE, made, host, text, unet)
    loop.train(plan, folder, unet, loss, sheet(BASE, made, network, host, text, unet))


def trained_base(folder: Path) -> UNet:
    unet = UNet(TRAINED_ANIMA).eval().requires_grad_(False)
    loop.result(BASE.file, folder, unet)
    return unet


def train_lora(
    folder: Path, made: Latents, network: RgbaVae, unet: UNet, text: TextEncoder, steps: int
) -> None:
    torch.manual_seed(8)
    patch, host = LinearPatch(unet, LORA).to(loop.device_of(network)), ordinary(network)
    plan = loop.Plan(LORA.file, steps, 5e-3, average=0.995)
    loss = losses(plan, LORA, made, host, text, patch.predict)
    loop.train(plan, folder, patch, loss, sheet(LORA, made, network, host, text, patch.predict))


def trained_lora(folder: Path, unet: UNet) -> LinearPatch:
    patch = LinearPatch(unet, LORA)
    loop.result(LORA.file, folder, patch)
    return patch
