"""When a job's batches are made to consist of whole scenes: after every script, before the host's `init`.

Scripts such as Dynamic Prompts write a prompt for each picture in their `process` hook, before or after ours
as the user has them in order. What they see is the batch as it was asked for, so that each prompt becomes a
scene.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lib_layerdiffusion.errors import LayerDiffuseError
from lib_layerdiffusion.hosts import job_methods
from lib_layerdiffusion.hosts.base import Host, Job
from lib_layerdiffusion.job import scene_prompts
from lib_layerdiffusion.request import infotext, scenes
from lib_layerdiffusion.request.settings import Settings

LAYER_KEY = f"{infotext.PREFIX}layer"


def arrange_before_init(
    host: Host, p: Job, settings: Settings, problem: Callable[[Exception], LayerDiffuseError]
) -> None:
    """Have the next `p.init` find whole scenes, and end with `problem(error)` where that cannot be."""
    method = settings.method

    def init(original: Callable[..., Any], *args: Any) -> Any:
        try:
            scenes.arrange(p, method.frames)
            scene_prompts.check(host, p, settings)
            p.extra_generation_params[LAYER_KEY] = scenes.layer_names(method, len(p.all_prompts))
        except Exception as error:
            # not in a hook: this ends the job by itself
            raise problem(error) from error
        return original(p.all_prompts, p.all_seeds, p.all_subseeds)

    job_methods.around_next(p, "init", init)
