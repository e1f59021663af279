"""Jobs that end with another UNet than they began with: refiner, hires checkpoint, replaced patchers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from lib_layerdiffusion.errors import GenerationFailed, UnsupportedBaseModel
from lib_layerdiffusion.methods import METHODS, SD15, Method
from miniature.nets.random_weights import BaseModel, base_state_dict, load_base
from miniature.nets.unet import SD15_MINIATURE
from miniature.webui import passes
from miniature.webui.checkpoints import Checkpoint
from miniature.webui.host import MiniatureHost
from miniature.webui.processing import WebUI
from tests.helpers.fresh_networks import fresh
from tests.helpers.jobs import CONDITIONED, DECODING, arguments, request
from tests.helpers.scripts import OtherScript, StepTaker

SDXL_METHODS = (*DECODING, CONDITIONED[0])
SD15_METHODS = tuple(method for method in METHODS if method.family is SD15)
HALF: dict[str, Any] = {"refiner_switch_at": 0.5, "steps": 4}


class Bench:
    """A WebUI of a family, and the script in it."""

    def __init__(self, base: BaseModel, host: MiniatureHost, script: Any, family: str) -> None:
        self.base, self.script, self.family = base, script, family
        self.webui = WebUI(fresh(base))
        host.family = family

    def twin(self, **changes: Any) -> Checkpoint:
        """A second checkpoint of the very same weights."""
        return Checkpoint(fresh(self.base), **{"family": self.family, **changes})

    def other(self) -> Checkpoint:
        """One of other weights."""
        state, config = (
            (base_state_dict(7), None)
            if self.family == "sdxl"
            else (base_state_dict(7, SD15_MINIATURE), SD15_MINIATURE)
        )
        return Checkpoint(load_base(state) if config is None else load_base(state, config), self.family)

    def run(self, args: list[Any] | None, *scripts: Any, **settings: Any) -> np.ndarray:
        p = request(self.webui, self.script, args, **{"steps": 4, **settings})
        if scripts:
            p.scripts = [script or self.script for script in scripts]
        result = self.webui.process_images(p)
        return np.stack([np.asarray(image.convert("RGBA")).astype(int) for image in result.images])


@pytest.fixture
def bench(base: BaseModel, host: MiniatureHost, script: Any) -> Bench:
    return Bench(base, host, script, "sdxl")


@pytest.fixture
def bench15(base15: BaseModel, host: MiniatureHost, script: Any) -> Bench:
    return Bench(base15, host, script, "sd15")


@pytest.mark.parametrize("method", SDXL_METHODS, ids=lambda method: method.label)
@pytest.mark.parametrize("changes", [{}, {"ending_step": 0.7}, {"ending_step": 0.3}], ids=str)
def test_a_refiner_is_patched_like_the_first(bench: Bench, method: Method, changes: dict[str, Any]) -> None:
    """With the same weights it gives the very picture, on both sides of Stop At."""
    args = arguments(method, **changes)
    refiner = bench.twin()
    plain, refined = bench.run(args), bench.run(args, refiner=refiner, **HALF)
    assert np.array_equal(plain, refined)
    assert refiner.original.shared.merges > 0
    # nothing of it is left in either checkpoint, though the host goes on with what was left there
    assert np.array_equal(bench.run(None), bench.run(None, refiner=refiner, **HALF))


@pytest.mark.parametrize("method", SD15_METHODS, ids=lambda method: method.label)
def test_scenes_go_on_with_a_refiner(bench15: Bench, method: Method) -> None:
    prompts = {"fg_additional_prompt": "an apple"} if method.prompts else {}
    args = arguments(method, **prompts)
    refined = bench15.run(args, refiner=bench15.twin(), **HALF)
    assert np.array_equal(bench15.run(args), refined)


def test_the_refiner_is_at_work(bench: Bench) -> None:
    args, other = arguments(DECODING[0]), bench.other()
    plain, refined = bench.run(args), bench.run(args, refiner=other, **HALF)
    assert np.abs(plain - refined).max() > 3
    # and so is the layer model in it
    weak = bench.run(arguments(DECODING[0], weight=0.5), refiner=other, **HALF)
    assert np.abs(weak - refined).max() > 3
    # every batch begins with the first checkpoint
    two = bench.run(args, refiner=other, n_iter=2, **HALF)
    assert np.array_equal(two[0], refined[0])


def test_what_a_job_left_on_a_checkpoint_does_not_count_in_the_next(bench: Bench) -> None:
    """Some hosts keep models loaded with the patcher of their last sampling."""
    refiner = bench.twin()
    bench.run(arguments(DECODING[0], weight=0.3), refiner=refiner, **HALF)
    assert refiner.patcher is not refiner.original or bench.webui.other is refiner
    args = arguments(DECODING[0])
    assert np.array_equal(bench.run(args, refiner=refiner, **HALF), bench.run(args))


def test_a_refiner_of_the_highres_pass(bench: Bench) -> None:
    args = arguments(CONDITIONED[0])
    hires = {"enable_hr": True, "hr_scale": 2.0}
    plain = bench.run(args, **hires)
    assert np.array_equal(bench.run(args, refiner=bench.twin(), **HALF, **hires), plain)
    assert np.array_equal(bench.run(args, hr_checkpoint=bench.twin(), **hires), plain)


@pytest.mark.parametrize("role", ["refiner", "hr_checkpoint"])
@pytest.mark.parametrize("told", [True, False])
def test_a_checkpoint_of_another_family_is_refused(
    bench: Bench, base15: BaseModel, monkeypatch: pytest.MonkeyPatch, role: str, told: bool
) -> None:
    """Before sampling where its file says what it is, else when it is loaded."""
    other = Checkpoint(fresh(base15), "sd15", "an old one", told)
    sampled: list[bool] = []
    run = passes.sample_pass

    def watch(*args: Any) -> torch.Tensor:
        sampled.append(True)
        return run(*args)

    monkeypatch.setattr(passes, "sample_pass", watch)
    settings: dict[str, Any] = {role: other, "enable_hr": role == "hr_checkpoint"}
    with pytest.raises(UnsupportedBaseModel, match="needs an SDXL checkpoint, but an old one"):
        bench.run(arguments(DECODING[0]), **settings, **HALF)
    assert bool(sampled) != told


def test_an_unpatched_job_may_go_on_with_anything_of_its_family(bench: Bench) -> None:
    for changes in ({"weight": 0.0}, {"ending_step": 0.0}):
        args = arguments(CONDITIONED[0], **changes)
        refiner = bench.twin()
        assert np.array_equal(bench.run(args), bench.run(args, refiner=refiner, **HALF))
        assert refiner.original.shared.merges == 0


class Taker(StepTaker):
    """Puts the model as loaded in the place of the patched one, at one step."""

    def __init__(self, step: int) -> None:
        self.step, self.calls = step, 0

    def takes(self, p: Any) -> bool:
        self.calls += 1
        return self.calls == self.step + 1


@pytest.mark.parametrize("step", [0, 2, 3])
def test_a_model_that_is_taken_away_in_the_middle(bench: Bench, step: int) -> None:
    """It is patched again; where it is taken after that, the job ends with a sentence."""
    args = arguments(DECODING[0])
    assert np.array_equal(bench.run(args, Taker(step), None), bench.run(args))
    with pytest.raises(GenerationFailed, match="put its own model in the place"):
        bench.run(args, None, Taker(step))


def test_a_script_that_samples_by_itself_gets_the_patched_model(bench: Bench) -> None:
    """As "img2img alternative test" does, without a word to other scripts."""

    class OwnSampling(OtherScript):
        def process(self, p: Any, *args: Any) -> None:
            hook = p.run_hook
            p.run_hook = lambda name, *args, **kwargs: (
                None if name == "process_before_every_sampling" else hook(name, *args, **kwargs)
            )

    args = arguments(DECODING[0])
    assert np.array_equal(bench.run(args, OwnSampling(), None), bench.run(args))


@pytest.mark.parametrize("which", [1, 2])
def test_a_checkpoint_that_cannot_be_patched_ends_the_job(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, which: int
) -> None:
    """Nobody tries again at the next step."""
    patch = MiniatureHost.patch_weights
    calls: list[Any] = []

    def fail(self: MiniatureHost, *args: Any) -> int:
        calls.append(args)
        if len(calls) == which:
            raise torch.cuda.OutOfMemoryError("no memory")
        return patch(self, *args)

    monkeypatch.setattr(MiniatureHost, "patch_weights", fail)
    with pytest.raises(GenerationFailed, match="failed while patching the model"):
        bench.run(arguments(DECODING[0]), refiner=bench.twin(), **HALF)
    assert len(calls) == which
