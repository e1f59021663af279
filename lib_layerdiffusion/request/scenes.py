"""Batches of methods that make several layers at once: a scene is one picture per layer, side by side.

A batch size that is a multiple of a scene's pictures counts pictures, as in the released extension. Any
other counts scenes. Either way picture f of scene k has the seed of the first picture plus k * frames + f, so
a scene does not depend on how many are made, nor on batch size or batch count.
"""

from __future__ import annotations

from typing import Any

from lib_layerdiffusion.errors import BatchSizeMismatch
from lib_layerdiffusion.methods import Method

PROMPTS: dict[str, str] = {
    "all_prompts": "prompt",
    "all_negative_prompts": "negative prompt",
    "all_hr_prompts": "prompt for hires fix",
    "all_hr_negative_prompts": "negative prompt for hires fix",
}
"""Lists with an entry per picture of the job, and what users call an entry."""


def arrange(p: Any, frames: int) -> None:
    """Make the batch of a host's processing object consist of whole scenes.

    Call it when all scripts have written the lists of prompts and seeds, which have an entry per scene or per
    picture, as the batch size counts; afterwards they have one per picture. Raises BatchSizeMismatch where
    the pictures of one scene would have different prompts.
    """
    per_picture = p.batch_size % frames == 0
    for name, title in PROMPTS.items():
        texts = getattr(p, name, None)
        if not texts:
            continue
        if per_picture:
            _check_equal(texts, frames, title)
        else:
            setattr(p, name, [text for text in texts for _ in range(frames)])
    # with a variation seed, hosts give every picture the same seed
    step = 0 if getattr(p, "subseed_strength", 0) else 1
    p.all_seeds = _seeds(list(p.all_seeds), frames, step, per_picture, isinstance(p.seed, list))
    p.all_subseeds = _seeds(list(p.all_subseeds), frames, 1, per_picture, isinstance(p.subseed, list))
    if per_picture:
        return
    p.batch_size *= frames
    pictures = getattr(p, "init_images", None) or []
    if len(pictures) > 1:
        p.init_images = [picture for picture in pictures for _ in range(frames)]


def _check_equal(texts: list[str], frames: int, title: str) -> None:
    scenes = [texts[n : n + frames] for n in range(0, len(texts), frames)]
    for scene in scenes:
        if len(scene) < frames or len(set(scene)) > 1:
            shown = ", ".join(f'"{text}"' for text in dict.fromkeys(scene))
            raise BatchSizeMismatch(
                f"A scene of {frames} pictures has one {title}, but another extension wrote one for each "
                f"picture: {shown}. Set the batch size to 1; then each makes a scene of its own."
            )


def _seeds(seeds: list[int], frames: int, step: int, per_picture: bool, chosen: bool) -> list[int]:
    """Return a seed per picture; `chosen`: each scene's own was asked for."""
    if per_picture:
        first = seeds[::frames]
    elif not chosen and seeds == list(range(seeds[0], seeds[0] + len(seeds))):
        # counted on from the first, without knowing that a scene takes several
        first = [seeds[0] + n * frames * step for n in range(len(seeds))]
    else:
        first = seeds
    return [seed + frame * step for seed in first for frame in range(frames)]


def layer_names(method: Method, pictures: int) -> list[str]:
    """Name the layer that each picture of a job shows, in order."""
    return [method.outputs[n % method.frames].value for n in range(pictures)]


def first_of_scene(values: list[Any], frames: int) -> list[Any]:
    """Replace each entry by that of its scene's first picture."""
    return [values[n - n % frames] for n in range(len(values))]
