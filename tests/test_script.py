"""scripts/forge_layerdiffusion.py where it cannot run: a sentence in the panel, and no hook does anything."""

from __future__ import annotations

import shutil
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
    with pytest.raises(IncompatibleHost, match=r"Forge, Forge Neo, .*, and this is another"):
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
