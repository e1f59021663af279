"""A transparent picture made by one checkpoint is repainted by another, and keeps its transparency."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from PIL import Image

from lib_layerdiffusion.errors import BadSetting, for_user
from lib_layerdiffusion.hosts.base import Host, Job
from lib_layerdiffusion.job.further_jobs import FurtherJobs
from lib_layerdiffusion.job.init_pictures import has_init_pictures
from lib_layerdiffusion.methods import KEEP
from lib_layerdiffusion.request import xyz_axes
from lib_layerdiffusion.request.settings import UNFINISHED, Settings

logger = logging.getLogger("layerdiffuse")

MOST_NAMES = 8
"""How many checkpoints a message lists."""


class Repaints:
    """Those of one job, by `jobs` of it. To be made before anything has changed `p`. Raises BadSetting."""

    def __init__(self, host: Host, p: Job, settings: Settings, jobs: FurtherJobs) -> None:
        self._host = host
        self._wanted = settings.repaint
        if self._wanted is None:
            return
        if has_init_pictures(p):
            raise BadSetting(
                f"Repaint with (repaint_with) works in txt2img; in img2img select the checkpoint, and "
                f'"{KEEP.label}" as the method.'
            )
        found = host.checkpoint_named(self._wanted.checkpoint)
        if found is None:
            names = host.checkpoints()
            more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
            raise BadSetting(
                f'There is no checkpoint "{self._wanted.checkpoint}" to repaint with (repaint_with). '
                f"The WebUI has: {', '.join(names[:MOST_NAMES]) or 'no other'}{more}."
            )
        self._checkpoint = found
        self._jobs = jobs

    @property
    def wanted(self) -> bool:
        return self._wanted is not None

    def of(
        self, p: Job, position: int, index: int, name: str, picture: Image.Image
    ) -> tuple[Image.Image, Mapping[str, Any]] | None:
        """Return the picture at `position` of its batch, repainted, and what is told of it.

        None where the user broke it off. Raises LayerDiffuseError.
        """
        assert self._wanted is not None
        if self._host.broken_off():
            return None
        job = self._jobs.job(p, position, index)
        job = self._host.with_picture(job, picture, self._wanted.strength)
        if self._wanted.prompt:
            job.prompt = ", ".join(part for part in (job.prompt, self._wanted.prompt) if part)
        xyz_axes.put(job, p, {**UNFINISHED, "method": KEEP.label})
        self._host.report(f"{name}: repainting with {self._checkpoint}", None)
        logger.info("Repainting %s with %s.", name, self._checkpoint)
        try:
            with self._host.other_checkpoint(p, job, self._checkpoint):
                made = self._jobs.run(job)
        except Exception as error:
            raise for_user(error, "repainting") from error
        finally:
            self._host.report("", None)
        # a picture that is half repainted is worth less than the one that was finished
        return None if self._host.broken_off() else made
