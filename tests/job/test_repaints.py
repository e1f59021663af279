"""Two steps as one: a method makes a transparent picture, another checkpoint repaints it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lib_layerdiffusion.errors import BadSetting
from lib_layerdiffusion.methods import KEEP
from lib_layerdiffusion.pictures.arithmetic import flatten_on_grey
from lib_layerdiffusion.pictures.finishing import Steps, finish
from lib_layerdiffusion.request import infotext
from miniature.nets.random_weights import BaseModel
from miniature.webui import infotext_format
from miniature.webui.checkpoints import Checkpoint
from miniature.webui.host import MiniatureHost
from miniature.webui.processing import Processed, WebUI
from miniature.webui.state import state
from tests.helpers.fresh_networks import fresh
from tests.helpers.jobs import CONDITIONED, DECODING, arguments, notes, pixels, request
from tests.helpers.scripts import OtherScript

Generate = Callable[..., Processed]
OTHER = "painter.safetensors"
TRANSPARENT = DECODING[0]


@pytest.fixture
def painter(host: MiniatureHost, base15: BaseModel) -> Checkpoint:
    """Another checkpoint of the WebUI, of a family that the method does not fit."""
    painter = Checkpoint(fresh(base15), family="sd15", title="painter")
    host.others[OTHER] = lambda: painter
    return painter


def repaint(**changes: Any) -> list[Any]:
    return arguments(TRANSPARENT, **{"repaint_with": OTHER, "follow_new_edges": 0.0, **changes})


@pytest.mark.usefixtures("painter")
def test_it_is_what_both_steps_make_one_after_the_other(
    generate: Generate, webui: WebUI, script: Any, painter: Checkpoint
) -> None:
    first = generate(arguments(TRANSPARENT)).images[0]
    (together,) = generate(repaint(repaint_strength=0.6, repaint_prompt="in ink")).images
    assert together.mode == "RGBA"
    assert (np.asarray(together)[..., 3] == np.asarray(first)[..., 3]).all()
    assert (np.asarray(together) != np.asarray(first)).any()
    p = request(
        webui,
        script,
        arguments(KEEP, follow_new_edges=0.0),
        prompt="a cup made of glass, in ink",
        init_images=[first],
        denoising_strength=0.6,
        checkpoint=painter,
    )
    (second,) = webui.answer(p).images
    assert (np.asarray(second) == np.asarray(together)).all()


@pytest.mark.usefixtures("painter")
def test_every_picture_of_every_batch(generate: Generate) -> None:
    many = generate(repaint(), batch_size=2, n_iter=2).images
    singles = [generate(repaint(), seed=1 + n).images[0] for n in range(4)]
    for one, single in zip(many, singles, strict=True):
        shown = [flatten_on_grey(np.asarray(each)) for each in (one, single)]
        assert np.abs(shown[0] - shown[1]).max() <= 3 / 255


@pytest.mark.usefixtures("painter")
def test_the_first_checkpoint_is_back(generate: Generate, webui: WebUI) -> None:
    before = pixels(generate())
    generate(repaint(), n_iter=2)
    assert webui.other is None
    assert webui.selected is None
    assert (pixels(generate()) == before).all()


@pytest.mark.usefixtures("painter")
@pytest.mark.parametrize("prompt", ['ink, "glass": 1', '"ink"'])
def test_one_infotext_replays_both(generate: Generate, prompt: str) -> None:
    values = {"repaint_strength": 0.35, "repaint_prompt": prompt, "follow_new_edges": 0.25}
    result = generate(repaint(**values))
    params = infotext_format.read(result.infotexts[0])
    assert params["layerdiffusion_repaint_with"] == OTHER
    replayed = {name: key(params) for name, key in infotext.keys().items() if name in values}
    assert replayed == values
    read = {name: key(params) for name, key in infotext.keys().items()}
    known = {name: value for name, value in read.items() if value is not None}
    again = generate(arguments(known.pop("method"), **known))
    assert (pixels(again) == pixels(result)).all()
    assert "repaint" not in generate(arguments(TRANSPARENT)).infotexts[0]


@pytest.mark.usefixtures("painter")
def test_what_is_told_is_of_the_repainted_picture(generate: Generate) -> None:
    plain, repainted = (
        generate(args).extra_generation_params["layerdiffusion_verdicts"]
        for args in (arguments(TRANSPARENT), repaint())
    )
    assert [one["picture"] for one in repainted] == [1]
    assert repainted != plain


class Recorder(OtherScript):
    """Keeps the prompts of all jobs as they were asked for, and what is written of them."""

    def __init__(self) -> None:
        self.prompts: list[str] = []
        self.written: list[set[str]] = []

    def process(self, p: Any, *args: Any, **kwargs: Any) -> None:
        self.prompts += p.all_prompts
        self.written.append(set(p.extra_generation_params))


@pytest.mark.usefixtures("painter")
def test_finishing_comes_last_and_once(generate: Generate, webui: WebUI, script: Any) -> None:
    whole = generate(repaint()).images[0]
    recorder = Recorder()
    p = request(webui, script, repaint(clean_veil=120, trim=True))
    p.scripts = [script, recorder]
    (finished,) = webui.answer(p).images
    assert np.array_equal(np.asarray(finished), finish(np.asarray(whole), Steps(veil=120, trim=0)))
    assert ["layerdiffusion_trim" in written for written in recorder.written] == [True, False]


@pytest.mark.usefixtures("painter")
def test_scenes_and_opaque_pictures_are_not_repainted(generate: Generate) -> None:
    """The control is hidden there, and keeps what it had."""
    method = CONDITIONED[0]
    assert not method.makes_alpha
    plain = pixels(generate(arguments(method)))
    assert (pixels(generate(arguments(method, repaint_with=OTHER))) == plain).all()


@pytest.mark.usefixtures("painter")
def test_loras_go_along(webui: WebUI, script: Any) -> None:
    """Hosts take them out of a batch's prompts before it is sampled."""
    recorder = Recorder()
    p = request(webui, script, repaint(repaint_prompt="in ink"), prompt="a cup <lora:ink:1>")
    p.scripts = [script, recorder]
    webui.answer(p)
    assert p.prompts == ["a cup "]
    assert recorder.prompts == ["a cup <lora:ink:1>", "a cup <lora:ink:1>, in ink"]


class Presser(OtherScript):
    """Presses a button when the other checkpoint begins to sample."""

    def process_before_every_sampling(self, p: Any, *args: Any, **kwargs: Any) -> None:
        if p.webui.other is not None:
            state.interrupted = True


class Breaker(OtherScript):
    """Has the other checkpoint fail."""

    def on_cfg_denoiser(self, params: Any) -> None:
        if params.denoiser.p.webui.other is not None:
            params.denoiser.p.webui.patcher = None


@pytest.mark.usefixtures("painter")
@pytest.mark.parametrize("other", [Presser(), Breaker()], ids=["interrupted", "failing"])
def test_what_was_finished_is_delivered(webui: WebUI, script: Any, generate: Generate, other: Any) -> None:
    alone = pixels(generate(arguments(TRANSPARENT)))
    p = request(webui, script, repaint())
    p.scripts = [script, other]
    result = webui.answer(p)
    assert (pixels(result) == alone).all()
    assert [note for note in notes(p) if note.startswith("The picture is not repainted: ")]
    assert webui.other is None
    state.begin()
    assert (pixels(generate(arguments(TRANSPARENT))) == alone).all()


@pytest.mark.usefixtures("painter")
def test_a_checkpoint_that_is_missing(generate: Generate) -> None:
    with pytest.raises(BadSetting) as caught:
        generate(repaint(repaint_with="gone"))
    assert str(caught.value) == (
        'There is no checkpoint "gone" to repaint with (repaint_with). The WebUI has: painter.safetensors.'
    )


@pytest.mark.usefixtures("painter")
def test_img2img_says_how_it_is_done_there(generate: Generate) -> None:
    init = Image.new("RGBA", (64, 64), (200, 0, 0, 128))
    with pytest.raises(BadSetting, match=r"works in txt2img; in img2img select the checkpoint"):
        generate(repaint(), init_images=[init])


@pytest.mark.parametrize("changes", [{"repaint_strength": 0}, {"repaint_strength": "much"}], ids=str)
@pytest.mark.usefixtures("painter")
def test_values_that_mean_nothing(generate: Generate, changes: dict[str, Any]) -> None:
    with pytest.raises(BadSetting, match="Repaint strength"):
        generate(repaint(**changes))


@pytest.mark.usefixtures("painter")
@pytest.mark.parametrize("name", ["", "None", "none", None])
def test_nobody(generate: Generate, name: Any) -> None:
    plain = generate(arguments(TRANSPARENT))
    again = generate(repaint(repaint_with=name))
    assert (pixels(again) == pixels(plain)).all()
    assert again.infotexts == plain.infotexts
