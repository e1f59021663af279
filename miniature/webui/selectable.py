"""Scripts that a user selects: each runs several jobs over one request, and makes one result of theirs.

In what they keep of every job, and in what order, they are those that come with hosts.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

from PIL import Image

from miniature.webui import images
from miniature.webui.processing import Processed, Processing


def run(script: Callable[..., Processed], p: Processing, *args: Any) -> Processed:
    """Do what page and web API do with a request for which a script is selected."""
    p.run_by_script = True
    return script(p, *args)


def prompts_from_file(p: Processing, prompts: Sequence[str]) -> Processed:
    """One job per prompt, of copies: all their pictures, and all their infotexts."""
    made: list[Any] = []
    infotexts: list[str] = []
    for prompt in prompts:
        one = copy.copy(p)
        one.prompt = prompt
        processed = p.webui.process_images(one)
        made += processed.images
        infotexts += processed.infotexts
    whole = copy.copy(p)
    whole.all_prompts, whole.extra_result_images = list(prompts), []
    whole.all_seeds = whole.all_subseeds = [0]
    return Processed(whole, made, infotexts, 0)


def xyz_plot(p: Processing, apply: Callable[[Processing, Any], None], values: Sequence[Any]) -> Processed:
    """One job per value, of copies: the first picture of each, in the first job's result, after a grid."""
    result = None
    for number, value in enumerate(values):
        cell = copy.copy(p)
        apply(cell, value)
        processed = p.webui.process_images(cell)
        if result is None:
            result = copy.copy(processed)
            result.images, result.infotexts = [None] * len(values), [""] * len(values)
        result.images[number], result.infotexts[number] = processed.images[0], processed.infotexts[0]
    assert result is not None
    result.images.insert(0, images.image_grid(result.images, rows=1))
    result.infotexts.insert(0, result.infotexts[0])
    result.index_of_first_image = 1
    return result


def prompt_matrix(p: Processing, parts: Sequence[str]) -> Processed:
    """One job with a prompt for every choice among the parts: its result, with a grid before it."""
    first, *others = parts
    chosen = ([part for n, part in enumerate(others) if bits & (1 << n)] for bits in range(1 << len(others)))
    p.prompt = [", ".join([first, *some]) for some in chosen]
    p.n_iter = -(-len(p.prompt) // p.batch_size)
    p.do_not_save_grid = True
    processed = p.webui.process_images(p)
    processed.images.insert(0, images.image_grid(processed.images, rows=1 << (len(others) // 2)))
    processed.infotexts.insert(0, processed.infotexts[0])
    processed.index_of_first_image = 1
    return processed


def loopback(p: Processing, loops: int) -> Processed:
    """One job after the other over the same request, each from the picture before: all, after a grid."""
    made: list[Image.Image] = []
    infotexts = []
    for _ in range(loops):
        processed = p.webui.process_images(p)
        made.append(processed.images[0])
        infotexts.append(processed.info)
        p.init_images, p.seed = [made[-1]], processed.seed + 1
    p.extra_result_images = []
    # every picture is told with the text of the first
    return Processed(p, [images.image_grid(made, rows=1), *made], infotexts[:1] * (loops + 1), 0)


def img2img_batch(p: Processing, init_images: Sequence[Image.Image]) -> Processed:
    """What a folder of init pictures makes, no script at all: the first result, which takes the others in.

    Each picture is made with the prompt of the one that it begins with, as hosts do where that is asked for.
    """
    result = None
    for picture in init_images:
        p.init_images = [picture] * p.batch_size
        p.prompt = picture.info["parameters"].partition("\n")[0]
        processed = p.webui.process_images(p)
        if result is None:
            result = processed
        else:
            result.images.extend(processed.images)
            result.infotexts.extend(processed.infotexts)
    assert result is not None
    return result
