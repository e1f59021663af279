"""Batches of methods that make several layers at once: a scene is one picture per layer, side by side.

A batch size that is a multiple of a scene's pictures counts pictures, as in the released extension. Any
other counts scenes. Either way picture f of scene k has the seed of the first picture plus k * frames + f, so
a scene does not depend on how many are made, nor on batch size or batch count.
"""

from __future__ import annotations

from typing import Any

from lib_layerdiffusion.methods import Method

PROMPTS = ("prompt", "negative_prompt", "hr_prompt", "hr_negative_prompt")
SEEDS = ("seed", "subseed")


def arrange(p: Any, frames: int) -> None:
    """Make the batch of a host's processing object consist of whole scenes, before it expands its prompts.

    Lists, one entry per picture so far, are one entry per scene afterwards.
    """
    if p.batch_size % frames == 0:
        return
    p.batch_size *= frames
    for name in PROMPTS:
        texts = getattr(p, name, None)
        if isinstance(texts, list):
            setattr(p, name, [text for text in texts for _ in range(frames)])
    for name in SEEDS:
        seeds = getattr(p, name, None)
        if isinstance(seeds, list):
            setattr(p, name, [seed + frame for seed in seeds for frame in range(frames)])
    pictures = getattr(p, "init_images", None) or []
    if len(pictures) > 1:
        p.init_images = [picture for picture in pictures for _ in range(frames)]


def layer_names(method: Method, pictures: int) -> list[str]:
    """Name the layer that each picture of a job shows, in order."""
    return [method.outputs[n % method.frames].value for n in range(pictures)]


def first_of_scene(values: list[Any], frames: int) -> list[Any]:
    """Replace each entry by that of its scene's first picture."""
    return [values[n - n % frames] for n in range(len(values))]
