"""The part of a host's adapter for a script that runs jobs of its own, as those of the host's list do."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image

from lib_layerdiffusion.hosts.base import Job


class WebUIOwnJobs:
    """Adapters for AUTOMATIC1111's family."""

    def run_job(self, p: Job) -> Any:
        from modules import processing

        return processing.process_images(p)

    def without_picture(self, p: Job) -> Job:
        from modules import processing

        if isinstance(p, processing.StableDiffusionProcessingTxt2Img):
            return copy.copy(p)
        return _as_other_kind(p, processing.StableDiffusionProcessingTxt2Img())

    def with_picture(self, p: Job, picture: Image.Image, denoising: float) -> Job:
        from modules import processing

        kind = processing.StableDiffusionProcessingImg2Img
        made = copy.copy(p) if isinstance(p, kind) else _as_other_kind(p, kind())
        made.init_images, made.resize_mode, made.denoising_strength = [picture], 0, denoising
        made.image_mask = None
        made.width, made.height = picture.size
        return made

    def checkpoints(self) -> Sequence[str]:
        from modules import sd_models

        return [str(name) for name in sd_models.checkpoint_tiles()]

    def checkpoint_named(self, name: str) -> str | None:
        from modules import sd_models

        found = sd_models.get_closet_checkpoint_match(name)
        return None if found is None else str(found.title)

    @contextmanager
    def other_checkpoint(self, p: Job, job: Job, name: str) -> Iterator[None]:
        job.override_settings = {**(job.override_settings or {}), "sd_model_checkpoint": name}
        job.override_settings_restore_afterwards = True
        try:
            yield
        finally:
            # hosts bring back what is selected, and load it when it is next needed: that is now
            self._load_selected(p)

    def _load_selected(self, p: Job) -> None:
        """Load the checkpoint that is selected, if it is not loaded."""
        raise NotImplementedError

    def fixed_seed(self, p: Job) -> int:
        from modules import processing

        processing.fix_seed(p)
        seed = p.seed
        return int(seed[0] if isinstance(seed, list) else seed)

    def samplers(self) -> Sequence[str]:
        from modules import sd_samplers

        return [sampler.name for sampler in sd_samplers.all_samplers]

    def expect_jobs(self, count: int) -> None:
        from modules import shared

        shared.state.job_count = count

    def save_result(self, p: Job, picture: Image.Image, infotext: str) -> Path | None:
        from modules import images, shared

        if p.do_not_save_samples or not shared.opts.samples_save:
            return None
        seed = p.seed[0] if isinstance(p.seed, list) else p.seed
        prompt = p.prompt[0] if isinstance(p.prompt, list) else p.prompt
        saved, _ = images.save_image(
            picture, p.outpath_samples, "", seed, prompt, shared.opts.samples_format, info=infotext, p=p
        )
        return None if saved is None else Path(saved)


def _as_other_kind(p: Job, made: Job) -> Job:
    """Give a new job everything that `p` has in common with its kind."""
    from modules import processing

    common = {field.name for field in dataclasses.fields(processing.StableDiffusionProcessing)}
    of_its_kind = {field.name for field in dataclasses.fields(type(p))}
    # what hosts and scripts have hung on it goes along, what only its kind knows stays
    kept = {k: v for k, v in vars(p).items() if k in common or k not in of_its_kind}
    for name, value in kept.items():
        if name not in _OF_IMG2IMG:
            made.__dict__[name] = value
    return made


_OF_IMG2IMG = {"image_mask", "mask_for_overlay", "overlay_images", "paste_to", "image_conditioning"}
"""What the host's class for img2img sets beside its fields."""
