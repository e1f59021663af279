"""Stages 3 to 5: the base UNets with their text encoder, and the layer patches of the six SDXL methods."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from lib_layerdiffusion.files.layer_patch import FIRST_CONVOLUTION, LATENT_CHANNELS
from lib_layerdiffusion.models.encoder_and_decoder import TransparencyDecoder
from miniature.nets.autoencoder import AutoencoderKL
from miniature.nets.schedule import NoiseSchedule
from miniature.nets.text_encoder import TextEncoder
from miniature.nets.trained import TRAINED, TRAINED_SD15
from miniature.nets.unet import UNet
from miniature.training import denoising, loop
from miniature.training.autoencoder_stage import write_sheet
from miniature.training.backgrounds import Rng
from miniature.training.denoising import Predict, sample
from miniature.training.drawn_scenes import Latents
from miniature.training.emoji import CONCEPTS
from miniature.webui.patcher import PREFIX

BATCH = 32
EMPTY_SHARE = 0.1
"""Prompts left out, for the guidance between a prompt and none."""
RANK = 32
QKV = re.compile(r"\.to_[qkv]\.")
EMBEDDINGS = re.compile(r"^(time_embed|label_emb)\.")
EMBEDDED = re.compile(r"\.emb_layers\.")
TRANSFORMER = re.compile(r"\.(transformer_blocks\.|proj_in|proj_out|1\.norm\.)")


class Generator(nn.Module):
    """The base UNet and its text encoder, which are trained together."""

    def __init__(self) -> None:
        super().__init__()
        self.unet = UNet(TRAINED)
        self.text = TextEncoder()


@dataclass(frozen=True)
class Task:
    """What one layer file makes: from which layers, with which prompts, which layer."""

    file: str
    conditions: tuple[str, ...]
    target: str
    prompts: str
    occupied: bool = False
    """Whether some of the backgrounds hold an object already."""
    rank: int = 0
    """That of the LoRA which the file is, 0 for one of offsets."""

    @property
    def is_transparent(self) -> bool:
        return self.target == "adjusted"


TASKS = {
    task.file: task
    for task in (
        Task("layer_xl_transparent_attn", (), "adjusted", "concept", rank=RANK),
        Task("layer_xl_transparent_conv", (), "adjusted", "concept"),
        Task("layer_xl_fg2ble", ("foreground",), "blended", "both"),
        Task("layer_xl_bg2ble", ("background",), "blended", "both", occupied=True),
        Task("layer_xl_fgble2bg", ("foreground", "blended"), "background", "place"),
        Task("layer_xl_bgble2fg", ("background", "blended"), "adjusted", "concept", occupied=True),
    )
}
BASE = Task("base", (), "blended", "both")
BASE_SD15 = Task("base_sd15", (), "blended", "both")


class Patch(nn.Module):
    """What a layer file adds to the frozen UNet, as it is trained."""

    def __init__(self, unet: UNet, task: Task) -> None:
        super().__init__()
        # in a tuple: not a part of this module
        self.base = (unet,)
        self.parts = nn.ParameterDict()
        for name, weight in unet.named_parameters():
            key = name.replace(".", "/")
            if task.rank:
                if self.covers(name, weight):
                    down = torch.randn(task.rank, *weight.shape[1:]) / weight[0].numel() ** 0.5
                    self.parts[f"{key}::lora::0"] = torch.zeros(weight.shape[0], task.rank)
                    self.parts[f"{key}::lora::1"] = down
            elif self._offset(name, task):
                channels = LATENT_CHANNELS * (1 + len(task.conditions))
                first = PREFIX + name == FIRST_CONVOLUTION
                shape = (weight.shape[0], channels, *weight.shape[2:]) if first else weight.shape
                self.parts[f"{key}::diff::0"] = torch.zeros(shape)

    def covers(self, name: str, weight: Tensor) -> bool:
        """Whether the LoRA changes this weight."""
        # not attention alone: the finest level has none, and seven blocks are too few
        return weight.ndim > 1 and not (EMBEDDINGS.search(name) or EMBEDDED.search(name))

    @staticmethod
    def _offset(name: str, task: Task) -> bool:
        if EMBEDDINGS.search(name):
            return False
        return not (QKV if task.file.endswith("conv") else TRANSFORMER).search(name)

    def weights(self) -> dict[str, Tensor]:
        unet = self.base[0]
        merged: dict[str, Tensor] = {}
        for name, parameter in unet.named_parameters():
            key, weight = name.replace(".", "/"), parameter.data
            if f"{key}::lora::0" in self.parts:
                up, down = self.parts[f"{key}::lora::0"], self.parts[f"{key}::lora::1"]
                merged[name] = weight + (up @ down.flatten(1)).reshape(weight.shape)
            elif f"{key}::diff::0" in self.parts:
                delta = self.parts[f"{key}::diff::0"]
                if delta.shape != weight.shape:
                    weight = nn.functional.pad(weight, (0, 0, 0, 0, 0, delta.shape[1] - weight.shape[1]))
                merged[name] = weight + delta
        return merged

    def predict(self, x: Tensor, timestep: Tensor, context: Tensor, vector: Tensor) -> Tensor:
        noise: Tensor = functional_call(self.base[0], self.weights(), (x, timestep, context, vector))
        return noise

    def tensors(self) -> dict[str, Tensor]:
        """Those of the layer file."""
        return {
            PREFIX + key.replace("/", "."): part.detach().half().contiguous()
            for key, part in self.parts.items()
        }


def prompt(latents: Latents, number: int, kind: str, rng: Rng) -> str:
    """A prompt that fits a scene; what it leaves out may be anything."""
    concept, place = CONCEPTS[latents.concepts[number]], latents.places[number]
    if rng.random() < EMPTY_SHARE:
        return ""
    if kind == "concept" or not place:
        return concept if kind != "place" else place
    if kind == "place":
        return place if rng.random() < 0.5 else f"{concept}, {place}"
    return f"{concept}, {place}" if rng.random() < 0.7 else concept


def losses(
    plan: loop.Plan,
    task: Task,
    latents: Latents,
    vae: AutoencoderKL,
    text: TextEncoder,
    predict: Predict,
    train_text: bool,
) -> loop.Loss:
    schedule = NoiseSchedule()
    clean_of = vae.process_in(getattr(latents, task.target))
    deviation = latents.deviation * vae.scaling_factor
    conditions = [vae.process_in(getattr(latents, name)) for name in task.conditions]

    def loss(step: int) -> dict[str, Tensor]:
        rng = loop.rng(plan.name, step)
        chosen = rng.integers(len(clean_of), size=BATCH)
        clean = clean_of[chosen]
        prompts = [prompt(latents, int(n), task.prompts, rng) for n in chosen]
        if task in (BASE, BASE_SD15):
            clean = clean + deviation[chosen] * torch.randn_like(clean)
            for n in np.flatnonzero(rng.random(BATCH) < 0.12):
                # the place alone
                clean[n] = vae.process_in(latents.background[chosen[n]])
                prompts[n] = latents.places[chosen[n]]
        timestep = denoising.timesteps(schedule, rng, BATCH).to(clean.device)
        with torch.set_grad_enabled(train_text):
            context, vector = text(prompts)

        def noise_in(x: Tensor) -> Tensor:
            given = torch.cat([x, *(condition[chosen] for condition in conditions)], dim=1)
            return predict(given, timestep, context, vector)

        return denoising.losses(schedule, clean, timestep, noise_in)

    return loss


def sheet(
    task: Task,
    latents: Latents,
    vae: AutoencoderKL,
    text: TextEncoder,
    predict: Predict,
    decoder: TransparencyDecoder | None,
) -> Callable[[Path], None]:
    numbers = list(range(0, 80, 10))

    @torch.inference_mode()
    def write(path: Path) -> None:
        rng = loop.rng("sheet", 2)
        prompts = [prompt(latents, n, task.prompts, rng) for n in numbers]
        given = [vae.process_in(getattr(latents, name)[numbers]) for name in task.conditions]
        result = sample(predict, text, prompts, torch.cat(given, dim=1) if given else None)
        pictures = (vae.decode(vae.process_out(result)) / 2 + 0.5).clamp(0, 1)
        shown = [getattr(latents, name)[numbers] for name in task.conditions]
        rows = [(vae.decode(z) / 2 + 0.5).clamp(0, 1) for z in shown] + [pictures]
        if decoder is not None:
            decoded = decoder(pictures, vae.process_out(result)).clamp(0, 1)
            rows.append(decoded[:, :1].expand(-1, 3, -1, -1))
        print(f"\n{prompts}", flush=True)
        write_sheet(path, rows)

    return write


def train_base(folder: Path, latents: Latents, vae: AutoencoderKL, steps: int) -> Generator:
    torch.manual_seed(2)
    generator = Generator().to(loop.device_of(vae))
    plan = loop.Plan("base", steps, 1.5e-3)
    unet, text = generator.unet, generator.text
    loss = losses(plan, BASE, latents, vae, text, unet, train_text=True)
    loop.train(plan, folder, generator, loss, sheet(BASE, latents, vae, text, unet, None))
    return generator


def train_base_sd15(
    folder: Path, latents: Latents, vae: AutoencoderKL, text: TextEncoder, steps: int
) -> UNet:
    """The UNet in SD1.5's layout, with the text encoder that was trained along with the other one."""
    torch.manual_seed(4)
    unet = UNet(TRAINED_SD15).to(loop.device_of(vae))
    plan = loop.Plan(BASE_SD15.file, steps, 1.5e-3)
    loss = losses(plan, BASE_SD15, latents, vae, text, unet, train_text=False)
    loop.train(plan, folder, unet, loss, sheet(BASE_SD15, latents, vae, text, unet, None))
    return unet


def trained(folder: Path) -> Generator:
    generator = Generator().eval().requires_grad_(False)
    loop.result(BASE.file, folder, generator)
    return generator


def trained_sd15(folder: Path) -> UNet:
    unet = UNet(TRAINED_SD15).eval().requires_grad_(False)
    loop.result(BASE_SD15.file, folder, unet)
    return unet


def train_patch(
    folder: Path,
    task: Task,
    latents: Latents,
    vae: AutoencoderKL,
    generator: Generator,
    decoder: TransparencyDecoder | None,
    steps: int,
) -> Patch:
    torch.manual_seed(3)
    text = generator.text
    patch = Patch(generator.unet, task).to(loop.device_of(vae))
    plan = loop.Plan(task.file, steps, 2e-3 if task.rank else 1e-3, average=0.995)
    loss = losses(plan, task, latents, vae, text, patch.predict, train_text=False)
    loop.train(plan, folder, patch, loss, sheet(task, latents, vae, text, patch.predict, decoder))
    return patch
