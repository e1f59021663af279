"""The part of a host's adapter for a script that runs jobs of its own, as those of the host's list do."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
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
        common = {field.name for field in dataclasses.fields(processing.StableDiffusionProcessing)}
        of_img2img = {field.name for field in dataclasses.fields(processing.StableDiffusionProcessingImg2Img)}
        made = processing.StableDiffusionProcessingTxt2Img()
        # what hosts and scripts have hung on it goes along, what only img2img knows stays
        kept = {k: v for k, v in vars(p).items() if k in common or k not in of_img2img}
        vars(made).update({k: v for k, v in kept.items() if k not in _OF_IMG2IMG})
        return made

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


_OF_IMG2IMG = {"image_mask", "mask_for_overlay", "overlay_images", "paste_to", "image_conditioning"}
"""What the host's class for img2img sets beside its fields."""
