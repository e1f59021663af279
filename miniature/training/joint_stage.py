"""The layer files of the four SD1.5 methods: attention sharing between a scene's frames, on a frozen base.

What is trained is the extension's own network, run as it runs in a host.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from lib_layerdiffusion.job.scene_attention import SharedAttention
from lib_layerdiffusion.methods import METHODS, SD15, Layer, Method
from lib_layerdiffusion.models.attention_sharing import UNIT_MODULES, AttentionSharing
from lib_layerdiffusion.models.encoder_and_decoder import TransparencyDecoder
from lib_layerdiffusion.pictures.arithmetic import flatten_on_grey
from miniature.nets.autoencoder import AutoencoderKL
from miniature.nets.random_weights import shapes_of, sharing_shapes
from miniature.nets.schedule import NoiseSchedule
from miniature.nets.text_encoder import TextEncoder
from miniature.nets.unet import UNet
from miniature.training import denoising, loop
from miniature.training.autoencoder_stage import to_tensor, write_sheet
from miniature.training.backgrounds import Rng
from miniature.training.drawn_scenes import Latents, scene
from miniature.training.emoji import CONCEPTS, Emoji
from miniature.training.generator_stage import EMPTY_SHARE

SCENES = 12
"""Scenes in a step, of one, two or three frames each."""
RANK, CONTROL_WIDTH = 8, 16
SILU_GAIN = 1.68
"""1 / sqrt(E[SiLU(x)^2]) of normal x: what keeps a signal as strong behind a layer as before it."""
PICTURE_ALONE = 0.4
"""Prompts left out where there is a control picture, which then alone tells what to show."""

FIELD = {Layer.FOREGROUND: "adjusted", Layer.BACKGROUND: "background", Layer.BLENDED: "blended"}
METHOD = {method.weights.name: method for method in METHODS if method.family is SD15}


class Sharing(nn.Module):
    """A layer file in training on a frozen UNet, which it starts without a difference to."""

    def __init__(self, unet: UNet, method: Method) -> None:
        super().__init__()
        self.frames = method.frames
        # in a tuple: not a part of this module
        self.base = (unet,)
        shapes = shapes_of(lambda: UNet(unet.config))
        tensors = sharing_shapes(shapes, method.frames, bool(method.pictures), RANK, CONTROL_WIDTH)
        self.network = AttentionSharing.from_state_dict(
            {key: _start(key, shape) for key, shape in tensors.items()}, method.frames, bool(method.pictures)
        ).requires_grad_()

    def predict(self, x: Tensor, timestep: Tensor, context: Tensor, picture: Tensor | None) -> Tensor:
        """Return the noise in x; rows are `(b f)`, `picture` [b, 3, H, W] in [0, 1] has one of each scene."""
        unet = self.base[0]
        modules: list[nn.Module] = [unet.get_submodule(name) for name in UNIT_MODULES]
        # an object for this call alone: the merged weights are others after each step
        sharing = SharedAttention(self.network, 1.0, [], picture, {})
        with sharing.active(modules, [0], len(x)):
            noise: Tensor = unet(x, timestep, context)
        return noise

    def tensors(self) -> dict[str, Tensor]:
        """Those of the layer file."""
        return {key: value.half().contiguous() for key, value in self.network.state_dict().items()}


def _start(key: str, shape: tuple[int, ...]) -> Tensor:
    """Nothing is added at first: the last layer of each branch is zero."""
    last = ".up." in key or "temporal_o" in key or ("control_convs" in key and ".2." in key)
    if last or key.endswith("bias"):
        return torch.zeros(shape)
    if "temporal_n" in key:
        return torch.ones(shape)
    # through a dozen layers with SiLU between them, a control signal would come to nothing
    gain = SILU_GAIN if "kwargs_encoder" in key or "control_convs" in key else 1.0
    return gain * torch.randn(shape) / float(np.prod(shape[1:])) ** 0.5


def prompts(method: Method, latents: Latents, number: int, rng: Rng) -> list[str]:
    """One prompt for all frames of a scene, or what additional prompts make of it: each frame's own."""
    concept, place = CONCEPTS[latents.concepts[number]], latents.places[number]
    both = f"{concept}, {place}" if place else concept
    kind = rng.random()
    empty = PICTURE_ALONE if method.pictures else EMPTY_SHARE
    if kind < empty:
        return [""] * method.frames
    if method.frames == 1:
        return [concept]
    if kind < empty + 0.6 * (1 - empty):
        return [both] * method.frames
    own = {Layer.FOREGROUND: concept, Layer.BACKGROUND: place, Layer.BLENDED: both}
    return [own[layer] for layer in method.outputs]


def control_pictures(method: Method, emoji: Emoji, count: int) -> Tensor | None:
    """uint8 [N, 3, 128, 128] of the first scenes, as the extension gives them to the network."""
    if not method.pictures:
        return None
    made = []
    for number in range(count):
        one = scene(emoji, number)
        foreground = method.pictures == (Layer.FOREGROUND,)
        made.append(flatten_on_grey(one.foreground) if foreground else one.background)
    return (to_tensor(made) * 255).round().byte()


def losses(
    plan: loop.Plan,
    method: Method,
    latents: Latents,
    vae: AutoencoderKL,
    text: TextEncoder,
    sharing: Sharing,
    pictures: Tensor | None,
) -> loop.Loss:
    schedule = NoiseSchedule()
    assert latents.adjusted is not None
    count = len(latents.adjusted)
    frames = torch.stack([getattr(latents, FIELD[layer])[:count] for layer in method.outputs], dim=1)
    clean_of = vae.process_in(frames)

    def loss(step: int) -> dict[str, Tensor]:
        rng = loop.rng(plan.name, step)
        chosen = rng.integers(count, size=SCENES)
        clean = clean_of[chosen].flatten(0, 1)
        words = [word for n in chosen for word in prompts(method, latents, int(n), rng)]
        timestep = denoising.timesteps(schedule, rng, SCENES).repeat_interleave(method.frames)
        timestep = timestep.to(clean.device)
        context = text(words)[0]
        picture = None if pictures is None else pictures[chosen].float() / 255
        return denoising.losses(
            schedule, clean, timestep, lambda x: sharing.predict(x, timestep, context, picture)
        )

    return loss


def sheet(
    method: Method,
    latents: Latents,
    vae: AutoencoderKL,
    text: TextEncoder,
    sharing: Sharing,
    pictures: Tensor | None,
    decoder: TransparencyDecoder,
) -> Callable[[Path], None]:
    numbers = list(range(0, 80, 10))

    @torch.inference_mode()
    def write(path: Path) -> None:
        rng = loop.rng("sheet", 3)
        words = [word for n in numbers for word in prompts(method, latents, n, rng)]
        shown = None if pictures is None else pictures[numbers].to(loop.device_of(vae)).float() / 255
        twice = None if shown is None else shown.repeat(2, 1, 1, 1)

        def predict(x: Tensor, timestep: Tensor, context: Tensor, vector: Tensor) -> Tensor:
            return sharing.predict(x, timestep, context, twice)

        result = vae.process_out(denoising.sample(predict, text, words))
        decoded = (vae.decode(result) / 2 + 0.5).clamp(0, 1)
        rows = [] if shown is None else [shown]
        for frame, layer in enumerate(method.outputs):
            pixel, latent = decoded[frame :: method.frames], result[frame :: method.frames]
            rows.append(pixel)
            if layer is Layer.FOREGROUND:
                rows.append(decoder(pixel, latent).clamp(0, 1)[:, :1].expand(-1, 3, -1, -1))
        print(f"\n{words}", flush=True)
        write_sheet(path, rows)

    return write


def train(
    folder: Path,
    method: Method,
    emoji: Emoji,
    latents: Latents,
    vae: AutoencoderKL,
    unet: UNet,
    text: TextEncoder,
    decoder: TransparencyDecoder,
    steps: int,
) -> Sharing:
    torch.manual_seed(5)
    sharing = Sharing(unet, method).to(loop.device_of(vae))
    plan = loop.Plan(method.weights.name, steps, 2e-3, average=0.995)
    assert latents.adjusted is not None
    pictures = control_pictures(method, emoji, len(latents.adjusted))
    loss = losses(plan, method, latents, vae, text, sharing, pictures)
    show = sheet(method, latents, vae, text, sharing, pictures, decoder)
    loop.train(plan, folder, sharing, loss, show)
    return sharing
