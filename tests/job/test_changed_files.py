"""Weight files that change or go while the WebUI runs: a sentence, and the next job is as ever."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from lib_layerdiffusion.errors import WeightsError
from lib_layerdiffusion.files import download
from lib_layerdiffusion.files.layer_patch import Lora, merge
from lib_layerdiffusion.methods import FOLDER, METHODS, SD15, SDXL, Method
from lib_layerdiffusion.networks import Networks
from miniature.nets.random_weights import BaseModel
from miniature.webui.host import MiniatureHost
from miniature.webui.processing import WebUI
from miniature.webui.script import load_script
from tests.helpers.fresh_networks import fresh
from tests.helpers.jobs import SDXL_METHODS, arguments, request

ATTENTION = SDXL_METHODS[0]
SHARING = next(method for method in METHODS if method.family is SD15)


def cut_off(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def replace(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(path.read_bytes())
    os.utime(other, ns=(1, 1))
    other.replace(path)


def write_over(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(-1000, os.SEEK_END)
        file.write(b"\1" * 1000)
    os.utime(path, ns=(1, 1))


CHANGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "cut off": (cut_off, "was changed while it was in use"),
    "replaced": (replace, "was changed while it was in use"),
    "written over": (write_over, "was changed while it was in use"),
    "gone": (Path.unlink, "is no longer there"),
}


class Place:
    """A WebUI over weight files of its own."""

    def __init__(self, base: BaseModel, models_dir: Path, method: Method) -> None:
        self.webui, self.method = WebUI(fresh(base)), method
        self.host = MiniatureHost(models_dir, family=method.family.key)
        self.script = load_script(lambda: self.host)
        self.path = models_dir / FOLDER / method.weights.filename

    def job(self, on: bool = True, **changes: Any) -> list[bytes]:
        p = request(self.webui, self.script, arguments(self.method) if on else None, **changes)
        return [image.tobytes() for image in self.webui.process_images(p).images]


@pytest.fixture
def own_files(models_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(models_dir, tmp_path / "models")
    monkeypatch.setattr(download, "fetch", lambda *arguments: None)
    return tmp_path / "models"


@pytest.fixture
def sdxl(base: BaseModel, own_files: Path) -> Place:
    return Place(base, own_files, ATTENTION)


@pytest.mark.parametrize("change", CHANGES)
def test_a_layer_file_that_changes_before_the_host_merges_it(
    sdxl: Place, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    off, on = sdxl.job(on=False), sdxl.job()
    sdxl.job(on=False)
    content, stat = sdxl.path.read_bytes(), sdxl.path.stat()
    install = MiniatureHost.install

    def changing(host: MiniatureHost, *args: Any) -> None:
        install(host, *args)
        CHANGES[change][0](sdxl.path)

    with monkeypatch.context() as patched:
        patched.setattr(MiniatureHost, "install", changing)
        with pytest.raises(WeightsError) as caught:
            sdxl.job()
    message = str(caught.value)
    assert message.startswith(f"{ATTENTION.weights.filename} in {sdxl.path.parent} {CHANGES[change][1]}")
    assert caught.value.status_code == 500
    # the very same file is back: what was merged of it while it was away must not be taken for it
    sdxl.path.write_bytes(content)
    os.utime(sdxl.path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert sdxl.job() == on
    assert sdxl.job(on=False) == off
    assert sdxl.job() == on


def test_a_file_that_fails_when_nothing_is_kept_between_generations(
    sdxl: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    sdxl.host.settings["layerdiffuse_keep_networks"] = False
    on = sdxl.job()
    sdxl.job(on=False)
    away = sdxl.path.with_name("away")
    install = MiniatureHost.install

    def unplug(host: MiniatureHost, *args: Any) -> None:
        install(host, *args)
        sdxl.path.rename(away)

    with monkeypatch.context() as patched:
        patched.setattr(MiniatureHost, "install", unplug)
        with pytest.raises(WeightsError, match="is no longer there"):
            sdxl.job()
    away.rename(sdxl.path)
    assert sdxl.job() == on


@pytest.mark.parametrize("clear", [True, False])
def test_what_was_merged_of_a_file_that_failed_has_a_name_of_its_own(own_files: Path, clear: bool) -> None:
    """Hosts merge again only what has another name, also after everything was freed."""
    networks = Networks(MiniatureHost(own_files))
    first = networks.layer_file(ATTENTION)
    path = own_files / FOLDER / ATTENTION.weights.filename
    path.rename(path.with_name("away"))
    patch = next(patch for patch in first.patches.values() if isinstance(patch, Lora))
    patch.up.float()
    path.with_name("away").rename(path)
    if clear:
        networks.clear()
    second = networks.layer_file(ATTENTION)
    assert second.identity != first.identity
    second.check()
    networks.clear()
    assert networks.layer_file(ATTENTION).identity == second.identity


def test_a_file_that_fails_while_sampling_gives_no_picture(
    sdxl: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host that is short of memory merges again at every step, the last one too."""
    on = sdxl.job(steps=3)
    sdxl.job(on=False)
    shared, calls = sdxl.webui.original.shared, []
    name = next(name for name in shared.parameters if name.endswith("attn1.to_q.weight"))
    forward = type(shared.network).forward

    def last_call(*args: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:
            sdxl.path.rename(sdxl.path.with_name("away"))
            ((_, _, patches),) = sdxl.webui.patcher.patches
            merge(torch.zeros_like(shared.parameters[name]), [(patches[name], 1.0)])
        return forward(*args)

    with monkeypatch.context() as patched:
        patched.setattr(type(shared.network), "forward", last_call)
        with pytest.raises(WeightsError, match="is no longer there"):
            sdxl.job(steps=3)
    assert len(calls) == 3
    sdxl.path.with_name("away").rename(sdxl.path)
    assert sdxl.job(steps=3) == on


@pytest.mark.parametrize("change", ["cut off", "gone"])
def test_a_layer_file_that_changes_between_generations(sdxl: Place, change: str) -> None:
    off = sdxl.job(on=False)
    sdxl.job()
    CHANGES[change][0](sdxl.path)
    with pytest.raises(WeightsError, match=r"cannot be read|is no longer there"):
        sdxl.job()
    assert sdxl.job(on=False) == off


@pytest.mark.parametrize("change", ["cut off", "gone"])
def test_a_network_that_shares_attention_needs_its_file_no_more(
    base15: BaseModel, own_files: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """It is used as long as the model samples, so it is read whole before."""
    place = Place(base15, own_files, SHARING)
    on, install = place.job(), MiniatureHost.install

    def changing(host: MiniatureHost, *args: Any) -> None:
        install(host, *args)
        CHANGES[change][0](place.path)

    monkeypatch.setattr(MiniatureHost, "install", changing)
    assert place.job() == on


@pytest.mark.parametrize("change", ["cut off", "gone"])
def test_a_decoder_that_changes_while_sampling(
    sdxl: Place, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    sdxl.job()
    install = MiniatureHost.install

    def changing(host: MiniatureHost, *args: Any) -> None:
        install(host, *args)
        CHANGES[change][0](sdxl.path.with_name(SDXL.decoder.filename))

    monkeypatch.setattr(MiniatureHost, "install", changing)
    sentence = rf"{SDXL.decoder.filename} in .*(cannot be read|is no longer there)"
    with pytest.raises(WeightsError, match=sentence):
        sdxl.job()


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="this system does not tell what is mapped")
def test_no_weight_file_is_mapped(base: BaseModel, base15: BaseModel, own_files: Path) -> None:
    for place in (Place(base, own_files, ATTENTION), Place(base15, own_files, SHARING)):
        place.job()
        assert str(own_files) not in Path("/proc/self/maps").read_text()
