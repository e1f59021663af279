"""A fault at every step of a generation: the job ends with a sentence, and nothing of it is left behind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from PIL import Image

from lib_layerdiffusion import networks
from lib_layerdiffusion.errors import DownloadFailed, GenerationFailed, Interrupted, LayerDiffuseError
from lib_layerdiffusion.files import download, layer_patch, store
from lib_layerdiffusion.job import generation, hooks
from lib_layerdiffusion.methods import METHODS, SD15
from lib_layerdiffusion.transparency import codec, ways
from miniature.nets.random_weights import BaseModel
from miniature.webui.host import MiniatureHost
from miniature.webui.patcher import Patcher
from miniature.webui.processing import WebUI
from miniature.webui.script import load_script
from tests.helpers.fresh_networks import fresh
from tests.helpers.jobs import SDXL_METHODS, arguments, picture, request

ATTENTION, CONVOLUTION, CONDITIONED = SDXL_METHODS[0], SDXL_METHODS[1], SDXL_METHODS[2]
SHARING = next(method for method in METHODS if method.family is SD15 and method.pictures)
CASES = {
    "transparent": (ATTENTION, {}),
    "from a picture": (
        ATTENTION,
        {"init_images": [Image.fromarray(picture())], "denoising_strength": 1.0},
    ),
    "blending": (CONDITIONED, {}),
    "scene": (SHARING, {}),
}

FAULTS: dict[str, Callable[[], Exception]] = {
    "memory": lambda: RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    "fault": lambda: RuntimeError("the card is on fire"),
    "disk": lambda: OSError(5, "Input/output error"),
}
"""Made anew each time: an exception keeps the frames that it passed, and all they hold."""


class Bench:
    """A WebUI with the extension, and what a fresh one gives for the same jobs.

    One that a fault left nothing on is `unharmed`, and good for the next.
    """

    fresh: ClassVar[dict[str, tuple[list[bytes], list[bytes]]]] = {}
    unharmed: ClassVar[dict[str, Bench]] = {}

    def __init__(self, case: str, bases: dict[str, BaseModel], models_dir: Path) -> None:
        self.case = case
        self.method, self.fields = CASES[case]
        self._base, self._models_dir = bases[self.method.family.key], models_dir
        self.webui, self.host, self.script = self.start()
        if case not in self.fresh:
            webui, _, script = self.start()
            off = self.run(webui, script, None)
            webui, _, script = self.start()
            self.fresh[case] = off, self.run(webui, script, arguments(self.method))
        self.off, self.on = self.fresh[case]

    def start(self) -> tuple[WebUI, MiniatureHost, Any]:
        host = MiniatureHost(self._models_dir, family=self.method.family.key)
        return WebUI(fresh(self._base)), host, load_script(lambda: host)

    def run(self, webui: WebUI, script: Any, args: list[Any] | None) -> list[bytes]:
        # init pictures are encoded with unseeded noise where the extension is off
        torch.manual_seed(0)
        batch = self.method.frames if args is None else 1
        p = request(webui, script, args, batch_size=batch, **self.fields)
        return [image.tobytes() for image in webui.answer(p).images]

    def job(self, **changes: Any) -> list[bytes]:
        return self.run(self.webui, self.script, arguments(self.method, **changes))

    def check_nothing_is_left(self) -> None:
        """The next jobs, without and with the extension, are those of a fresh process."""
        assert "encode" not in vars(self.webui)
        assert not any("forward" in vars(module) for module in self.webui.base.unet.modules())
        assert self.run(self.webui, self.script, None) == self.off
        assert self.webui.patcher.mark is None
        assert self.job() == self.on
        assert self.run(self.webui, self.script, None) == self.off
        self.unharmed[self.case] = self


@pytest.fixture
def make_bench(base: BaseModel, base15: BaseModel, models_dir: Path) -> Callable[[str], Bench]:
    """Make a bench that has read no file yet."""
    return lambda case: Bench(case, {"sdxl": base, "sd15": base15}, models_dir)


@pytest.fixture
def used_bench(make_bench: Callable[[str], Bench]) -> Callable[[str], Bench]:
    """Give a bench that has done a job."""

    def found(case: str) -> Bench:
        bench = Bench.unharmed.pop(case, None)
        if bench is None:
            bench = make_bench(case)
            bench.job()
        return bench

    return found


@pytest.fixture(params=CASES)
def new_bench(request: pytest.FixtureRequest, make_bench: Callable[[str], Bench]) -> Bench:
    return make_bench(request.param)


@pytest.fixture(params=CASES)
def bench(request: pytest.FixtureRequest, used_bench: Callable[[str], Bench]) -> Bench:
    return used_bench(request.param)


def break_down(
    monkeypatch: pytest.MonkeyPatch, place: tuple[Any, str], error: Callable[[], Exception], calls: int
) -> list[int]:
    """Have a function raise from its call number `calls` on; the returned list counts them."""
    function = getattr(*place)
    counted: list[int] = []

    def faulty(*args: Any, **kwargs: Any) -> Any:
        counted.append(1)
        if len(counted) >= calls:
            raise error()
        return function(*args, **kwargs)

    monkeypatch.setattr(*place, faulty)
    return counted


ANY, DECODING, PATCHING = (
    tuple(CASES),
    ("transparent", "from a picture"),
    ("transparent", "from a picture", "blending"),
)
PLACES = {
    "check": ((layer_patch, "check"), "preparing", PATCHING),
    "infotext": ((hooks.infotext, "write"), "preparing", ANY),
    "read": ((networks, "TensorFile"), "preparing", PATCHING),
    "parse": ((layer_patch, "parse"), "preparing", PATCHING),
    "patch": ((MiniatureHost, "patch_weights"), "patching the model", PATCHING),
    "condition": ((MiniatureHost, "condition"), "patching the model", ANY),
    "install": ((MiniatureHost, "mark"), "patching the model", ANY),
    "share": ((MiniatureHost, "around_calls"), "patching the model", ("scene",)),
    "encode": ((codec, "encode_offset"), "encoding the init picture", ("from a picture",)),
    "init picture": ((MiniatureHost, "posterior"), "encoding the init picture", ("from a picture",)),
    "condition picture": ((MiniatureHost, "posterior"), "patching the model", ("blending",)),
    "decode": ((ways, "decode_rgba"), "decoding the transparency", DECODING),
    "edit": ((generation, "carry_edit"), "decoding the transparency", DECODING),
}


@pytest.mark.parametrize(
    ("place", "case"), [(place, case) for place, (_, _, cases) in PLACES.items() for case in cases]
)
def test_a_fault_at_any_step(
    make_bench: Callable[[str], Bench],
    used_bench: Callable[[str], Bench],
    monkeypatch: pytest.MonkeyPatch,
    place: str,
    case: str,
) -> None:
    # a file is read and parsed once
    bench = make_bench(case) if place in ("read", "parse") else used_bench(case)
    function, doing, _ = PLACES[place]
    break_down(monkeypatch, function, FAULTS["fault"], 1)
    with pytest.raises(GenerationFailed, match=f"failed while {doing} .*the card is on fire") as caught:
        bench.job()
    assert str(caught.value).endswith(".")
    assert "\n" not in str(caught.value)
    monkeypatch.undo()
    bench.check_nothing_is_left()


@pytest.mark.parametrize("kind", ["memory", "disk"])
@pytest.mark.parametrize("place", ["read", "patch", "condition picture", "encode", "decode"])
def test_no_memory_or_a_bad_disk_at_any_step(
    make_bench: Callable[[str], Bench],
    used_bench: Callable[[str], Bench],
    monkeypatch: pytest.MonkeyPatch,
    place: str,
    kind: str,
) -> None:
    function, _, cases = PLACES[place]
    bench = (make_bench if place == "read" else used_bench)(cases[-1])
    break_down(monkeypatch, function, FAULTS[kind], 1)
    with pytest.raises(LayerDiffuseError, match=r"emory|Input/output error") as caught:
        bench.job()
    assert str(caught.value).endswith(".")
    monkeypatch.undo()
    bench.check_nothing_is_left()


@pytest.mark.parametrize("ending_step", [1.0, 0.5])
@pytest.mark.parametrize("step", [1, 2])
@pytest.mark.parametrize("kind", ["memory", "fault"])
def test_a_fault_while_sampling(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, kind: str, step: int, ending_step: float
) -> None:
    break_down(monkeypatch, (Patcher, "evaluate"), FAULTS[kind], step)
    with pytest.raises(RuntimeError, match=r"on fire|out of memory"):
        bench.job(ending_step=ending_step)
    monkeypatch.undo()
    bench.check_nothing_is_left()


def test_a_fault_inside_the_network(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Deep in a call, where SD1.5's attention forwards are replaced for its time."""
    block = bench.webui.base.unet.middle_block[1]
    break_down(monkeypatch, (block, "forward"), FAULTS["fault"], 2)
    with pytest.raises(RuntimeError, match="on fire"):
        bench.job()
    monkeypatch.undo()
    vars(block).pop("forward", None)
    bench.check_nothing_is_left()


@pytest.mark.parametrize("case", DECODING)
def test_a_fault_at_the_second_picture_of_a_batch(
    used_bench: Callable[[str], Bench], monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    bench = used_bench(case)
    break_down(monkeypatch, (ways, "decode_rgba"), FAULTS["fault"], 2)
    p = request(bench.webui, bench.script, arguments(bench.method), batch_size=3)
    assert [image.mode for image in bench.webui.answer(p).images] == ["RGBA"]
    monkeypatch.undo()
    bench.check_nothing_is_left()


def test_a_download_that_fails(new_bench: Bench, own_files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last file of the job is missing: what was loaded before must not stay half used."""
    bench = new_bench
    folder = own_files / "layer_model"
    method = bench.method
    last = method.family.decoder if method.decodes_alpha else method.weights
    (folder / last.filename).rename(own_files / "aside")
    monkeypatch.setattr(download, "WAITS", ())
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(bench.host, "_models_dir", own_files)
    with pytest.raises(DownloadFailed):
        bench.job()
    (own_files / "aside").rename(folder / last.filename)
    bench.check_nothing_is_left()


def test_interrupt_while_preparing(new_bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it is when a file is inspected for the first time."""
    bench = new_bench

    def inspect(*args: Any) -> None:
        raise Interrupted("LayerDiffuse was interrupted while checking a file.")

    monkeypatch.setattr(store, "inspect", inspect)
    with pytest.raises(Interrupted) as caught:
        bench.job()
    assert caught.value.status_code == 409
    monkeypatch.undo()
    bench.check_nothing_is_left()
