"""Scripts that write prompts and seeds in their `process` hook, one per picture, as Dynamic Prompts does."""

from __future__ import annotations

from math import ceil
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lib_layerdiffusion.errors import BatchSizeMismatch, UnsupportedMethod
from miniature.webui.host import MiniatureHost
from miniature.webui.processing import Processed, WebUI
from miniature.webui.script import load_script
from tests.helpers.jobs import arguments, picture
from tests.helpers.jobs import request as job_of
from tests.helpers.sd15_jobs import FG2BG, JOINT, Generate, colours, near

WORDS = ["apple", "lamp", "umbrella", "cup", "fish", "tree"]


class Writer:
    """`count`: as many prompts, whatever was asked for; None: one per picture that was."""

    def __init__(self, count: int | None = None, negative: bool = False, seed: int | None = None) -> None:
        self.count, self.negative, self.seed = count, negative, seed

    def process(self, p: Any, *args: Any) -> None:
        count = self.count or p.n_iter * p.batch_size
        p.n_iter = ceil(count / p.batch_size)
        words = (WORDS * count)[:count]
        p.all_prompts = [p.prompt] * count if self.negative else words
        p.all_negative_prompts = words if self.negative else [""] * count
        p.all_hr_prompts = list(p.all_prompts)
        first = p.all_seeds[0]
        p.all_seeds = [first + n for n in range(count)] if self.seed is None else [self.seed] * count
        p.all_subseeds = list(p.all_seeds)


@pytest.fixture(params=["before ours", "after ours"])
def write(request: pytest.FixtureRequest, webui15: WebUI, host15: MiniatureHost) -> Any:
    """Run a job beside a script that writes prompts."""
    script = load_script(lambda: host15)

    def run(writer: Any, args: list[Any], **settings: Any) -> Processed:
        p = job_of(webui15, script, args, **settings)
        p.scripts = [writer, script] if request.param == "before ours" else [script, writer]
        return webui15.process_images(p)

    return run


def infotexts(result: Processed) -> list[str]:
    return [image.info["parameters"] for image in result.images]


def prompts(result: Processed) -> list[str]:
    return [text.partition("\n")[0] for text in infotexts(result)]


def seeds(result: Processed) -> list[int]:
    return [int(text.partition("Seed: ")[2].split(",")[0]) for text in infotexts(result)]


def layers(result: Processed) -> list[str]:
    return [text.partition("layerdiffusion_layer: ")[2].split(",")[0] for text in infotexts(result)]


def test_each_prompt_makes_a_scene(write: Any, generate15: Generate) -> None:
    result = write(Writer(), arguments(JOINT), n_iter=2)
    assert prompts(result) == ["apple"] * 3 + ["lamp"] * 3
    assert seeds(result) == [1] * 3 + [4] * 3
    assert layers(result) == ["foreground", "background", "blended"] * 2
    for scene, (text, seed) in enumerate([("apple", 1), ("lamp", 4)]):
        alone = generate15(arguments(JOINT), prompt=text, seed=seed)
        assert near(colours(result)[3 * scene : 3 * scene + 3], colours(alone))


def test_a_script_that_makes_more_prompts_than_were_asked_for(write: Any) -> None:
    result = write(Writer(count=4), arguments(JOINT))
    assert prompts(result) == [word for word in WORDS[:4] for _ in range(3)]
    assert seeds(result) == [n for n in (1, 4, 7, 10) for _ in range(3)]
    # two scenes at a time, and a last batch that is not full
    uneven = write(Writer(count=3), arguments(JOINT), batch_size=2)
    assert prompts(uneven) == [word for word in WORDS[:3] for _ in range(3)]
    assert [image.mode for image in uneven.images] == ["RGBA", "RGB", "RGB"] * 3


def test_negative_prompts_and_one_seed_for_all(write: Any, generate15: Generate) -> None:
    result = write(Writer(negative=True, seed=7), arguments(JOINT), n_iter=2, prompt="a cup")
    assert seeds(result) == [7] * 6
    for scene, text in enumerate(["apple", "lamp"]):
        alone = generate15(arguments(JOINT), prompt="a cup", negative_prompt=text, seed=7)
        assert near(colours(result)[3 * scene : 3 * scene + 3], colours(alone))


def test_where_the_batch_size_counts_pictures_a_scene_has_one_prompt(write: Any) -> None:
    for writer, title in ((Writer(), "prompt"), (Writer(negative=True), "negative prompt")):
        with pytest.raises(BatchSizeMismatch) as caught:
            write(writer, arguments(JOINT), batch_size=3)
        assert f"A scene of 3 pictures has one {title}, but another extension wrote" in str(caught.value)
        assert '"apple", "lamp", "umbrella"' in str(caught.value)
        assert "Set the batch size to 1" in str(caught.value)
    with pytest.raises(BatchSizeMismatch):
        write(Writer(count=3), arguments(FG2BG), batch_size=2)


def test_what_a_script_writes_is_looked_at_like_what_a_user_writes(write: Any) -> None:
    class Editing(Writer):
        def process(self, p: Any, *args: Any) -> None:
            p.all_prompts = ["a [cup:lamp:0.5]"] * len(p.all_prompts)

    with pytest.raises(UnsupportedMethod, match="prompt editing or AND"):
        write(Editing(), arguments(JOINT, bg_additional_prompt="a beach"))


def test_init_pictures_and_prompts_go_together(write: Any, generate15: Generate) -> None:
    first = Image.fromarray(picture())
    second = first.rotate(180)
    result = write(Writer(), arguments(JOINT), init_images=[first, second], batch_size=2)
    assert prompts(result) == ["apple"] * 3 + ["lamp"] * 3
    for scene, (init, text, seed) in enumerate([(first, "apple", 1), (second, "lamp", 4)]):
        alone = generate15(arguments(JOINT), init_images=[init], prompt=text, seed=seed)
        assert near(colours(result)[3 * scene : 3 * scene + 3], colours(alone))


def test_a_list_of_seeds_has_one_per_scene(generate15: Generate) -> None:
    result = generate15(arguments(JOINT), prompt=["a cup", "a lamp"], seed=[5, 6], batch_size=2)
    assert seeds(result) == [5] * 3 + [6] * 3
    for scene, (text, seed) in enumerate([("a cup", 5), ("a lamp", 6)]):
        alone = colours(generate15(arguments(JOINT), prompt=text, seed=seed))
        assert near(colours(result)[3 * scene : 3 * scene + 3], alone)
        # every layer has noise of its own
        assert len(np.unique(alone.reshape(3, -1), axis=0)) == 3


def test_one_batch_of_several_scenes_has_the_seed_of_each(generate15: Generate) -> None:
    for size in (2, 6):
        assert seeds(generate15(arguments(JOINT), batch_size=size)) == [1] * 3 + [4] * 3
