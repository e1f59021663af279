"""scripts/forge_layerdiffusion.py where it cannot run: a sentence in the panel, and no hook does anything."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import miniature.script
from lib_layerdiffusion import hosts
from lib_layerdiffusion.errors import IncompatibleHost
from lib_layerdiffusion.hosts.base import Host
from miniature.host import MiniatureHost
from miniature.script import load_script
from miniature.webui import WebUI
from tests.conftest import arguments, request

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
    with pytest.raises(IncompatibleHost, match="runs on Stable Diffusion WebUI Forge"):
        hosts.detect()


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        (
            {"patcher/base.py": "class ModelPatcher: ..."},
            r"does not know this version of Forge \(cannot import name 'memory_management' from 'backend'",
        ),
        (
            {
                "patcher/base.py": "class ModelPatcher: ...",
                "memory_management.py": "",
                "sampling/condition.py": "class Condition: ...",
                "sampling/sampling_function.py": "sampling_prepare = None",
                "../modules/__init__.py": "images = paths = prompt_parser = shared = None",
            },
            "does not support this kind of Forge yet",
        ),
    ],
    ids=["changed", "another kind"],
)
def test_a_forge_that_is_not_the_known_one(tmp_path: Path, files: dict[str, str], sentence: str) -> None:
    """In a process of its own: a host's packages are imported for good."""
    for name, content in files.items():
        path = tmp_path / "backend" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    for folder in (tmp_path / "backend", *(p for p in (tmp_path / "backend").iterdir() if p.is_dir())):
        (folder / "__init__.py").touch()
    code = (
        "from lib_layerdiffusion import hosts, errors\n"
        "try: hosts.detect()\nexcept errors.IncompatibleHost as error: print(error)"
    )
    root = Path(hosts.__file__).resolve().parents[2]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(root)])}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert re.search(sentence, done.stdout)
    assert done.stdout.count("\n") == 1


def test_unknown_host_gets_a_sentence_and_no_hook(host: MiniatureHost, webui: WebUI) -> None:
    sentence = "LayerDiffuse runs on Stable Diffusion WebUI Forge; this WebUI is another one."

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


def test_two_extensions_with_one_package_are_both_named(
    host: MiniatureHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = tmp_path / "sd-forge-other" / "scripts" / "forge_layerdiffusion.py"
    second.parent.mkdir(parents=True)
    shutil.copy(miniature.script.SCRIPT, second)
    monkeypatch.setattr(miniature.script, "SCRIPT", second)
    sentence = explained(load_script(lambda: host))
    assert str(tmp_path / "sd-forge-other") in sentence
    assert str(Path(hosts.__file__).resolve().parents[2]) in sentence
    assert "Disable one of the two" in sentence
