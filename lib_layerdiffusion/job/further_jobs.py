"""Jobs of ours that follow on one picture of another: copies of that, with something changed."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from PIL import Image

from lib_layerdiffusion.hosts.base import Host, Job
from lib_layerdiffusion.job.verdicts import LIST_KEY


class FurtherJobs:
    """Those of one job. To be made before anything has changed `p`, of which it keeps a copy."""

    def __init__(self, host: Host, p: Job) -> None:
        self._host = host
        self._fresh = copy.copy(p)

    def job(self, p: Job, position: int, index: int, seed: int = 0) -> Job:
        """Return one for the picture at `position` of the batch, `index` of the job; `seed` is added to its.

        It saves nothing.
        """
        job = copy.copy(self._fresh)
        # not those of the batch, which have lost their LoRAs
        job.prompt, job.negative_prompt = p.all_prompts[index], p.all_negative_prompts[index]
        # they are in the prompts by now
        job.styles = []
        job.seed, job.subseed = int(p.seeds[position]) + seed, int(p.subseeds[position])
        job.n_iter = job.batch_size = 1
        job.do_not_save_samples = job.do_not_save_grid = True
        job.extra_generation_params, job.extra_result_images = dict(job.extra_generation_params), []
        # they would show in the same place
        job.comments = type(p.comments)()
        return job

    def run(self, job: Job) -> tuple[Image.Image, Mapping[str, Any]] | None:
        """Return a job's picture, and what is told of it; None where it ended without. Raises its error."""
        try:
            processed = self._host.run_job(job)
            pictures = list(processed.images)[processed.index_of_first_image :]
            told = processed.extra_generation_params.get(LIST_KEY, [])
        finally:
            job.close()
        return (pictures[0], told[0]) if pictures and told else None
