"""A WebUI in small: the processing object, the hook order and the swallowed exceptions of Forge.

What it leaves out of a real host has no bearing on the hooks: face restoration, prompt syntax.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageChops
from torch import Tensor, nn

from miniature.nets.random_weights import BaseModel
from miniature.nets.schedule import NoiseSchedule
from miniature.webui import images, infotext_format, passes
from miniature.webui.checkpoints import Checkpoint, ExchangesCheckpoints
from miniature.webui.images import resize_image
from miniature.webui.patcher import Patcher, SharedNetwork
from miniature.webui.processed import Processed as Processed
from miniature.webui.state import state

logger = logging.getLogger("miniature")

LATENT_UPSCALE = 3
EXTRA_NETWORK = re.compile(r"<\w+:[^>]+>")


@dataclass
class Processing:
    """One request; with `init_images` it is img2img. Field names are the hosts'."""

    webui: WebUI
    prompt: str | list[str] = ""
    negative_prompt: str | list[str] = ""
    hr_prompt: str | list[str] = ""
    seed: int | list[int] = 1
    subseed: int | list[int] = -1
    steps: int = 4
    width: int = 128
    height: int = 128
    cfg_scale: float = 5.0
    batch_size: int = 1
    n_iter: int = 1
    enable_hr: bool = False
    hr_scale: float = 2.0
    hr_upscaler: str = "Latent"
    latent_scale_mode: dict[str, Any] | None = None
    firstpass_image: Image.Image | None = None
    denoising_strength: float = 0.7
    init_images: list[Any] = field(default_factory=list)
    resize_mode: int = 0
    image_mask: Image.Image | None = None
    inpaint_full_res: bool = False
    tiling: bool = False
    refiner: Checkpoint | None = None
    refiner_switch_at: float = 0.8
    hr_checkpoint: Checkpoint | None = None
    checkpoint: Checkpoint | None = None
    scripts: Sequence[Any] = ()
    script_args: Sequence[Any] = ()
    extra_generation_params: dict[str, Any] = field(default_factory=dict)
    extra_result_images: list[Any] = field(default_factory=list)
    is_api: bool = False
    run_by_script: bool = False
    comments: list[str] = field(default_factory=list)
    is_hr_pass: bool = False
    iteration: int = 0
    batch_index: int = 0
    paste_to: tuple[int, int, int, int] | None = None
    mask_for_overlay: Image.Image | None = None
    overlay_images: list[Image.Image] | None = None
    color_corrections: list[images.Levels] | None = None
    init_latent: Tensor | None = None
    latent_mask: Tensor | None = None
    sampler: Any = None
    do_not_save_samples: bool = False
    do_not_save_grid: bool = False
    all_prompts: list[str] = field(default_factory=list)
    all_negative_prompts: list[str] = field(default_factory=list)
    all_hr_prompts: list[str] = field(default_factory=list)
    all_seeds: list[int] = field(default_factory=list)
    all_subseeds: list[int] = field(default_factory=list)
    prompts: list[str] = field(default_factory=list)
    negative_prompts: list[str] = field(default_factory=list)
    hr_prompts: list[str] = field(default_factory=list)
    seeds: list[int] = field(default_factory=list)
    subseeds: list[int] = field(default_factory=list)

    def expand(self) -> None:
        """One prompt of each kind and one seed per picture of the job."""
        count = self.batch_size * self.n_iter
        self.all_prompts = self._each(self.prompt, count)
        count = len(self.all_prompts)
        self.all_negative_prompts = self._each(self.negative_prompt, count)
        self.all_hr_prompts = self._each(self.hr_prompt or self.prompt, count)
        first = self.seed
        self.all_seeds = first if isinstance(first, list) else [first + n for n in range(count)]
        self.all_subseeds = list(self.all_seeds)

    @staticmethod
    def _each(text: str | list[str], count: int) -> list[str]:
        return list(text) if isinstance(text, list) else [text] * count

    def begin_batch(self, iteration: int) -> None:
        """Prompts and seeds of one batch; every picture has a seed of its own."""
        part = self._part(iteration)
        self.iteration = iteration
        self.prompts = self.given_prompts(iteration)
        self.negative_prompts = self.all_negative_prompts[part]
        self.hr_prompts = self.all_hr_prompts[part]
        self.seeds, self.subseeds = self.all_seeds[part], self.all_subseeds[part]

    def _part(self, iteration: int) -> slice:
        return slice(iteration * self.batch_size, (iteration + 1) * self.batch_size)

    def given_prompts(self, iteration: int) -> list[str]:
        """Those of a batch; like hosts, without what names a LoRA."""
        return [EXTRA_NETWORK.sub("", prompt) for prompt in self.all_prompts[self._part(iteration)]]

    def comment(self, text: str) -> None:
        """Show a sentence under the pictures."""
        self.comments.append(text)

    def run_hook(self, name: str, *args: Any, **kwargs: Any) -> None:
        """Call a hook of every script; what it raises is logged and forgotten, as hosts do."""
        for script in self.scripts:
            hook = getattr(script, name, None)
            if hook is None:
                continue
            try:
                hook(self, *args, *self.script_args, **kwargs)
            except Exception:
                logger.exception("error running %s", name)

    def before_step(self, x: Tensor) -> None:
        """Call what scripts have registered for each step; what it raises is forgotten too."""
        params = SimpleNamespace(x=x, denoiser=SimpleNamespace(p=self))
        for script in self.scripts:
            try:
                script.on_cfg_denoiser(params)
            except Exception:
                logger.exception("error running on_cfg_denoiser")

    def close(self) -> None:
        """Page and web API call it when a request is over, however it ended."""
        self.sampler = None

    def noise(self, shape: Sequence[int], offset: int = 0) -> Tensor:
        """Unit noise whose every picture depends on its own seed alone."""
        return torch.stack(
            [
                torch.randn(
                    tuple(shape[1:]),
                    generator=torch.Generator().manual_seed(self.seeds[i] + offset * 100_003),
                )
                for i in range(shape[0])
            ]
        )

    def init(self, all_prompts: list[str], all_seeds: list[int], all_subseeds: list[int]) -> None:
        """Encode the init images, at the geometry that resize mode and mask ask for."""
        if self.enable_hr:
            self.latent_scale_mode = passes.LATENT_UPSCALERS.get(self.hr_upscaler)
        if not self.init_images:
            return
        region = None
        if self.image_mask is not None:
            self.mask_for_overlay = self.image_mask.convert("L")
            region = self.mask_for_overlay.getbbox() if self.inpaint_full_res else None
            mask = self.mask_for_overlay
            if region is not None:
                self.paste_to = (region[0], region[1], region[2] - region[0], region[3] - region[1])
                mask = resize_image(2, mask.crop(region), self.width, self.height)
            else:
                mask = self.mask_for_overlay = resize_image(self.resize_mode, mask, self.width, self.height)
            small = np.asarray(mask.resize((self.width // 8, self.height // 8)), np.float32) / 255
            self.latent_mask = torch.from_numpy(small.round())
        self.run_hook("before_process_init_images")
        self.overlay_images = []
        corrections: list[images.Levels] = []
        encoded = []
        for given in self.init_images:
            image = given.convert("RGB")
            if region is None and self.resize_mode != LATENT_UPSCALE:
                image = resize_image(self.resize_mode, image, self.width, self.height)
            if self.mask_for_overlay is not None:
                overlay = image.convert("RGBA")
                overlay.putalpha(ImageChops.invert(self.mask_for_overlay))
                self.overlay_images.append(overlay)
            if region is not None:
                image = resize_image(2, image.crop(region), self.width, self.height)
            corrections.append(images.setup_color_correction(image))
            encoded.append(np.asarray(image, np.float32) / 255)
        if len(encoded) == 1:
            encoded, self.overlay_images = encoded * self.batch_size, self.overlay_images * self.batch_size
            corrections *= self.batch_size
        if self.webui.color_correction and self.color_corrections is None:
            self.color_corrections = corrections
        self.batch_size = len(encoded)
        latents = [self.webui.encode(torch.from_numpy(image)[None]) for image in encoded]
        self.init_latent = self.webui.base.vae.process_in(torch.cat(latents))
        if self.resize_mode == LATENT_UPSCALE:
            size = self.height // 8, self.width // 8
            self.init_latent = torch.nn.functional.interpolate(self.init_latent, size, mode="bilinear")

    def sample(self) -> Any:
        """Return the latents of a batch, or the pixels that a highres pass ended with."""
        return passes.sample(self)

    def sample_hr_pass(self, latents: Tensor | None, pixels: Tensor | None) -> Any:
        """Go on at the larger size from the one of the two that the upscaler takes."""
        return passes.sample_highres(self, latents, pixels)


class WebUI(ExchangesCheckpoints):
    """The loaded model, `process_images`, and the settings that say what becomes of its pictures.

    `outputs`: the folder for pictures and grids, None where nothing is saved. `samples_format`: of pictures.
    """

    def __init__(self, base: BaseModel) -> None:
        self.base = base
        self.schedule = NoiseSchedule()
        self.original = Patcher(SharedNetwork(base.unet))
        self.patcher = self.original
        self.outputs: Path | None = None
        self.samples_format = "png"
        self.pnginfo = True
        self.grid = False
        self.color_correction = False
        # right after sampling, as one of the hosts does
        self.writes_infotexts_early = False

    def answer(self, p: Processing, script: Callable[..., Processed] | None = None, *args: Any) -> Processed:
        """Do what page and web API do with a request: run it, and look at what came of it.

        `script` is the `run` of a script from the list, which gets `args`.
        """
        state.begin()
        with closing(p):
            p.run_by_script = p.run_by_script or script is not None
            processed = self.process_images(p) if script is None else script(p, *args)
        processed.js()
        processed.images + processed.extra_images
        return processed

    @property
    def channels(self) -> int:
        """Those of the loaded model's latents."""
        return self.base.unet.config.in_channels

    @torch.inference_mode()
    def encode(self, pixels: Tensor) -> Tensor:
        """Pixels [B, H, W, 3] in [0, 1] -> a VAE-space latent drawn from the posterior, unseeded."""
        mean, logvar = self.base.vae.moments(2 * pixels.movedim(-1, 1) - 1)
        return mean + torch.exp(0.5 * logvar) * torch.randn_like(mean)

    @torch.inference_mode()
    def process_images(self, p: Processing) -> Processed:
        p.run_hook("before_process")
        selected, self.selected = self.selected, p.checkpoint or self.selected
        self.select()
        try:
            return self._process(p)
        finally:
            self.selected = selected

    def _process(self, p: Processing) -> Processed:
        self._tile(p.tiling)
        p.expand()
        p.run_hook("process")
        p.init(p.all_prompts, p.all_seeds, p.all_subseeds)
        finished: list[Any] = []
        infotexts: list[str] = []
        for iteration in range(p.n_iter):
            state.skipped = False
            if state.interrupted or state.stopping_generation:
                break
            # like hosts, from the objects as loaded, whatever stands in their place
            vars(self).pop("encode", None)
            self.select()
            p.begin_batch(iteration)
            if not p.prompts:
                break
            p.run_hook("process_batch", batch_number=iteration, prompts=p.prompts, seeds=p.seeds)
            latents = p.sample()
            decoded = getattr(latents, "already_decoded", False)
            p.run_hook("post_sample", SimpleNamespace(samples=latents))
            pixels = latents if decoded else self.decode(latents)
            p.run_hook("postprocess_batch", images=pixels, batch_number=iteration)
            # like hosts, without what scripts have made of them
            p.prompts = p.given_prompts(iteration)
            batch = SimpleNamespace(images=list(pixels))
            p.run_hook("postprocess_batch_list", batch, batch_number=iteration)
            count = len(batch.images) if self.writes_infotexts_early else 0
            early = [self.infotext(p) for p.batch_index in range(count)]
            for p.batch_index, one in enumerate(batch.images):
                # like hosts, without a look at what is no number
                with np.errstate(invalid="ignore"):
                    image = Image.fromarray((one.movedim(0, -1).numpy() * 255).astype(np.uint8))
                image = self._finish(p, image)
                infotexts.append(early[p.batch_index] if early else self.infotext(p))
                if self.outputs is not None and not p.do_not_save_samples:
                    kind, text = self.samples_format, infotexts[-1]
                    images.save_image(image, self.outputs, "", kind, text, p.scripts, p)
                if self.pnginfo:
                    image.info["parameters"] = infotexts[-1]
                finished.append(image)
        p.color_corrections = None
        if not infotexts:
            infotexts.append("")
        grids = self._add_grid(p, finished, infotexts)
        processed = Processed(p, finished, infotexts, grids)
        p.run_hook("postprocess", processed)
        return processed

    def _add_grid(self, p: Processing, finished: list[Any], infotexts: list[str]) -> int:
        """Put a grid before the pictures where the settings ask for one; return how many there are."""
        if not self.grid or p.do_not_save_grid or len(finished) < 2:
            return 0
        grid = images.image_grid(finished, p.batch_size)
        infotexts.insert(0, infotexts[0])
        if self.pnginfo:
            grid.info["parameters"] = infotexts[0]
        finished.insert(0, grid)
        if self.outputs is not None:
            images.save_image(grid, self.outputs, "grid-", info=infotexts[0], scripts=p.scripts)
        return 1

    def _tile(self, tiling: bool) -> None:
        """Have every convolution see the opposite border beyond a border, as hosts do, or zeros."""
        for network in (self.base.unet, self.base.vae):
            for layer in network.modules():
                if isinstance(layer, nn.Conv2d):
                    layer.padding_mode = "circular" if tiling else "zeros"

    def _finish(self, p: Processing, image: Image.Image) -> Any:
        pp = SimpleNamespace(image=image, index=p.batch_index + p.iteration * p.batch_size)
        p.run_hook("postprocess_image", pp)
        overlay = p.overlay_images[p.batch_index] if p.overlay_images else None
        masks = SimpleNamespace(
            index=p.batch_index, mask_for_overlay=p.mask_for_overlay, overlay_image=overlay
        )
        p.run_hook("postprocess_maskoverlay", masks)
        corrected = images.color_corrected(pp.image, p.color_corrections, p.batch_index)
        place = p.paste_to if p.inpaint_full_res else None
        finished = images.apply_overlay(corrected, place, masks.overlay_image)
        # hosts make another one here
        composite = SimpleNamespace(image=finished, index=pp.index)
        p.run_hook("postprocess_image_after_composite", composite)
        return composite.image

    def infotext(self, p: Processing) -> str:
        """Return that of the picture at hand."""
        keys: dict[str, Any] = {"Steps": p.steps, "Seed": p.seeds[p.batch_index]}
        for key, value in p.extra_generation_params.items():
            keys[key] = value[p.batch_index] if isinstance(value, list) else value
        return infotext_format.write(p.prompts[p.batch_index], keys)

    def decode(self, latents: Tensor) -> Tensor:
        """Sampler-space latents -> pixels [B, 3, H, W] in [0, 1]."""
        return (self.base.vae.decode(self.base.vae.process_out(latents)) / 2 + 0.5).clamp(0, 1)
