"""scripts/forge_layerdiffusion.py where it cannot run: a sentence in the panel, and no hook does anything."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import miniature.webui.script
from lib_layerdiffusion import hosts
from lib_layerdiffusion.errors import IncompatibleHost
from lib_layerdiffusion.hosts.base import Host
from lib_layerdiffusion.hosts.capabilities import Ability, Capabilities
from lib_layerdiffusion.request.settings import ARGUMENTS
from miniature.webui.host import MiniatureHost
from miniature.webui.processing import WebUI
from miniature.webui.script import load_script
from tests.helpers.jobs import arguments, request

ROOT = Path(__file__).resolve().parent.parent

HOOKS: dict[str, tuple[Any, ...]] = {
    "process": (),
    "post_sample": (SimpleNamespace(samples=None),),
    "postprocess_image": (SimpleNamespace(image="untouched"),),
    "postprocess_maskoverlay": (SimpleNamespace(mask_for_overlay=None, overlay_image=None),),
    "postprocess_image_after_composite": (SimpleNamespace(image="untouched"),),
    "postprocess": (SimpleNamespace(images=[]),),
}


def explained(script: Any) -> str:
    """Build the panel as a host does; return the sentence in it."""
    gradio = pytest.importorskip("gradio")
    with gradio.Blocks() as page:
        assert script.ui(False) == []
    return next(block.value for block in page.blocks.values() if isinstance(block, gradio.Markdown))


def test_this_interpreter_is_no_webui() -> None:
    with pytest.raises(IncompatibleHost, match=r"Forge Neo, Forge, .*, and this is another"):
        hosts.detect()


def test_unknown_host_gets_a_sentence_and_no_hook(host: MiniatureHost, webui: WebUI) -> None:
    sentence = "LayerDiffuse runs elsewhere."

    def detect() -> Host:
        raise IncompatibleHost(sentence)

    script = load_script(detect)
    assert script.handlers is None
    assert explained(script) == sentence
    p = request(webui, script)
    for name, hook_arguments in HOOKS.items():
        getattr(script, name)(p, *hook_arguments)
        for argument in hook_arguments:
            assert getattr(argument, "image", "untouched") == "untouched"
    script.process_before_every_sampling(p, x=None)
    off = webui.process_images(request(webui, load_script(lambda: host)))
    on = webui.process_images(request(webui, script, arguments()))
    assert on.images[0].tobytes() == off.images[0].tobytes()


@pytest.fixture
def second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Our script, as if it lay in an extension of its own."""
    folder = tmp_path / "second extension"
    path = folder / "scripts" / "forge_layerdiffusion.py"
    path.parent.mkdir(parents=True)
    shutil.copy(miniature.webui.script.SCRIPT, path)
    monkeypatch.setattr(miniature.webui.script, "SCRIPT", path)
    return folder


def test_a_package_that_another_extension_loaded_first(host: MiniatureHost, second: Path) -> None:
    script = load_script(lambda: host)
    sentence = explained(script)
    assert script.handlers is None
    assert f"({ROOT})" in sentence
    assert f"({second})" in sentence
    assert sentence.startswith(f'Disable the extension "{ROOT.name}"')


def test_a_package_that_another_extension_loads_later(
    host: MiniatureHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gradio = pytest.importorskip("gradio")
    script = load_script(lambda: host)
    # hosts put an extension's folder there before they load its scripts
    other = tmp_path / "sd-other-layerdiffuse"
    (other / "lib_layerdiffusion").mkdir(parents=True)
    monkeypatch.syspath_prepend(str(other))
    with gradio.Blocks() as page:
        # and the name of the page
        assert len(script.ui(False)) == len(ARGUMENTS) + 1
    texts = [block.value for block in page.blocks.values() if isinstance(block, gradio.Markdown)]
    assert any(text.startswith(f'Disable the extension "{other.name}" ({other})') for text in texts)


def test_alone_nothing_is_to_be_disabled(host: MiniatureHost) -> None:
    gradio = pytest.importorskip("gradio")
    script = load_script(lambda: host)
    with gradio.Blocks() as page:
        script.ui(False)
    assert not any("Disable" in str(getattr(block, "value", "")) for block in page.blocks.values())


@pytest.mark.parametrize("error", [ImportError("no module named cv2"), KeyError("x"), AttributeError("y")])
def test_loading_never_raises(error: Exception) -> None:
    def detect() -> Host:
        raise error

    script = load_script(detect)
    assert script.handlers is None
    assert f"could not start ({type(error).__name__}: {error})" in explained(script)


SETUPS = {
    "as it is": ("", ""),
    "warnings alone": ("logging.basicConfig(level=logging.WARNING)", ""),
    "later": ("", "logging.basicConfig()"),
}
"""What hosts do to logging before our script and after it."""

START = """
import json, logging, os, sys

import gradio  # as a host has by then, and for all processes at once
from tests.test_script import MiniatureHost, Path, load_script
for before, after in json.loads(sys.argv[1]):
    print("process", file=sys.stderr, flush=True)
    if os.fork():
        assert os.wait()[1] == 0
        continue
    exec(before)
    for _ in range(2):
        script = load_script(lambda: MiniatureHost(Path()))
        exec(after)
        script.callbacks["on_app_started"](None, None)
    sys.stderr.flush()
    os._exit(0)
"""


@pytest.fixture(scope="module")
def said_at_the_start() -> dict[str, list[str]]:
    """The lines on the console by setup, each of a process that has loaded our code and did nothing else."""
    command = [sys.executable, "-c", START, json.dumps(list(SETUPS.values()))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    first, *told = done.stderr.split("process\n")
    assert first == ""
    return {setup: text.splitlines() for setup, text in zip(SETUPS, told, strict=True)}


@pytest.mark.parametrize("setup", SETUPS)
def test_one_line_at_the_start(said_at_the_start: dict[str, list[str]], setup: str) -> None:
    """Again when the page is reloaded."""
    lines = said_at_the_start[setup]
    assert len(lines) == 2
    assert all("LayerDiffuse " in line and "no WebUI that LayerDiffuse knows" in line for line in lines)


def test_what_a_host_lacks_is_said_in_the_panel(host: MiniatureHost) -> None:
    gradio = pytest.importorskip("gradio")
    host.capabilities = Capabilities("Some WebUI", "", missing={Ability.XYZ: "This WebUI has no plot."})
    script = load_script(lambda: host)
    with gradio.Blocks() as page:
        script.ui(False)
    texts = [block.value for block in page.blocks.values() if isinstance(block, gradio.Markdown)]
    assert "This WebUI has no plot." in texts


LOAD = """
import importlib, json, os, sys
from pathlib import Path
import miniature.webui.script
from miniature.webui.host import MiniatureHost

import torch, cv2, gradio  # in hosts they are loaded by then

ours = sys.argv[1]
# hosts put an extension's folder in front before they load its scripts
for name in (path for path in sys.path if (Path(path) / "lib_layerdiffusion").is_dir()):
    sys.path.remove(name)
miniature_modules = [name for name in sys.modules if name.startswith("lib_layerdiffusion")]
for name in miniature_modules:
    del sys.modules[name]

def load_other(other):
    sys.path.insert(0, other)
    try:
        importlib.import_module("lib_layerdiffusion.theirs")
    except ModuleNotFoundError as error:
        print("other:", error)

def load_ours():
    sys.path.insert(0, ours)
    modules = miniature.webui.script._host_modules({})
    sys.modules.update(modules)
    spec = importlib.util.spec_from_file_location("s.py", Path(ours) / "scripts" / "forge_layerdiffusion.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

for first, other in json.loads(sys.argv[2]):
    print("process", flush=True)
    if os.fork():
        assert os.wait()[1] == 0
        continue
    if first == "other":
        load_other(other)
        print("ours:", load_ours().LayerDiffuse.problem)
    else:
        module = load_ours()
        load_other(other)
        print("ours:", *module.other_folders())
    sys.stdout.flush()
    os._exit(0)
"""

ORDERS = [(first, regular) for first in ("other", "ours") for regular in (True, False)]
"""Which of two extensions comes first, and whether the other's folder is a package with an __init__.py."""


@pytest.fixture(scope="module")
def loaded_in_order(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, bool], tuple[Path, str]]:
    """The other extension's folder, and what a process of its own said, for each of ORDERS."""
    folders = []
    for _, regular in ORDERS:
        folders.append(tmp_path_factory.mktemp("extensions") / "sd-other")
        (folders[-1] / "lib_layerdiffusion").mkdir(parents=True)
        (folders[-1] / "lib_layerdiffusion" / "theirs.py").touch()
        if regular:
            (folders[-1] / "lib_layerdiffusion" / "__init__.py").touch()
    given = [(first, str(folder)) for (first, _), folder in zip(ORDERS, folders, strict=True)]
    command = [sys.executable, "-c", LOAD, str(ROOT), json.dumps(given)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = done.stdout.split("process\n")[1:]
    return dict(zip(ORDERS, zip(folders, told, strict=True), strict=True))


@pytest.mark.parametrize(("first", "regular"), ORDERS)
def test_two_extensions_in_either_order(
    loaded_in_order: dict[tuple[str, bool], tuple[Path, str]], first: str, regular: bool
) -> None:
    other, told = loaded_in_order[first, regular]
    if first == "other":
        assert f'ours: Disable the extension "sd-other" ({other})' in told
    else:
        assert "other: No module named 'lib_layerdiffusion.theirs'" in told
        assert f"ours: {other}\n" in told
