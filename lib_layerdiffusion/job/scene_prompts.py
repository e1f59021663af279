"""The additional prompts of a scene's layers: what they cannot hold, and the conditions they give."""

from __future__ import annotations

import re

from torch import Tensor

from lib_layerdiffusion.errors import UnsupportedMethod
from lib_layerdiffusion.hosts.base import Host, Job
from lib_layerdiffusion.request.settings import Settings

EXTRA_NETWORK = re.compile(r"<\w+:[^>]+>")
"""How prompts name a LoRA and its like."""


def check(host: Host, p: Job, settings: Settings) -> None:
    """Raise UnsupportedMethod if an additional prompt, or one it is put before, is more than plain text."""
    added = [
        (layer, settings.prompts[layer]) for layer in settings.method.prompts if layer in settings.prompts
    ]
    if not added:
        return
    for layer, text in added:
        if not host.is_plain_prompt(p, text):
            raise UnsupportedMethod(
                f"Additional prompts cannot hold prompt editing or AND, as that of the {layer.value} does: "
                f'"{text}". Write it without.'
            )
        if EXTRA_NETWORK.search(text):
            raise UnsupportedMethod(
                f"Additional prompts cannot hold a LoRA or the like, as that of the {layer.value} does: "
                f'"{text}". It changes the whole model: put it into the prompt.'
            )
    highres = p.all_hr_prompts if getattr(p, "enable_hr", False) else []
    for prompt in dict.fromkeys([*p.all_prompts, *highres]):
        if not host.is_plain_prompt(p, prompt):
            raise UnsupportedMethod(
                f'Additional prompts cannot be combined with prompt editing or AND in "{prompt}". '
                "Remove one of the two."
            )


def conditions(host: Host, p: Job, settings: Settings) -> list[Tensor | None]:
    """Return for each layer the conditions [scenes, t, c] of the coming pass, None without additional prompt.

    Each additional prompt stands before the prompt of its own scene, in a highres pass before the prompt for
    that.
    """
    prompts = p.hr_prompts if getattr(p, "is_hr_pass", False) else p.prompts
    scenes = prompts[:: settings.method.frames]
    added = [settings.prompts.get(layer) for layer in settings.method.prompts]
    return [
        host.encode_prompts(p, [f"{text}, {prompt}" for prompt in scenes]) if text else None for text in added
    ]
