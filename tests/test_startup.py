"""What the script does when a host loads it: nothing but import its code."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks import startup
from lib_layerdiffusion import networks
from lib_layerdiffusion.files import tensors
from lib_layerdiffusion.methods import METHODS
from miniature.webui.host import MiniatureHost
from miniature.webui.processing import WebUI
from miniature.webui.script import load_script
from tests.helpers.jobs import arguments, request

ALLOWED = {"lib_layerdiffusion", "cv2", "einops", "safetensors", "tqdm", "PIL", "numpy", "scripts"}


@pytest.fixture(scope="module", params=["forge", "reforge"])
def loaded(request: pytest.FixtureRequest) -> dict[str, Any]:
    """What an interpreter of its own tells of loading the script onto stubs of a host."""
    pytest.importorskip("gradio")
    present = startup.PRESENT + startup.PRESENT_IN_HOSTS
    # what Python itself writes of the code that it has compiled is not the subject
    found: dict[str, Any] = json.loads(startup.run("script", request.param, present, None, "-B")[0])
    return found


def test_no_file_and_no_network_is_touched(loaded: dict[str, Any]) -> None:
    assert loaded["watched"] == []
    assert not loaded["accelerator"]


def test_what_only_a_job_needs_is_not_loaded(loaded: dict[str, Any]) -> None:
    """In particular nothing that a host may lack, or that takes long to load."""
    added = {name.partition(".")[0] for name in loaded["modules"]}
    standard = {name for name in added if name in sys.stdlib_module_names}
    assert added - standard <= ALLOWED
    assert "lib_layerdiffusion.doctor" not in loaded["modules"]


def test_watching_sees_files_and_connections(tmp_path: Path) -> None:
    """So that the test above can fail."""
    assert startup.touched("open", ("/somewhere/weights.safetensors", "r", 0))
    assert startup.touched("socket.connect", (None, ("huggingface.co", 443)))
    assert startup.touched("os.mkdir", (str(tmp_path), 0o777, -1))
    assert startup.touched("open", ("/somewhere/module.py", "r", 0)) is None


def test_no_network_is_built_before_a_job_needs_it(
    host: MiniatureHost, webui: WebUI, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_files: list[str] = []
    adopted: list[Any] = []
    adopt = MiniatureHost.adopt

    def counting(read: Callable[[Path], Any]) -> Callable[[Path], Any]:
        def counted(path: Path) -> Any:
            read_files.append(path.name)
            return read(path)

        return counted

    def noting(self: MiniatureHost, network: Any, full_precision: bool = False) -> Any:
        adopted.append(network)
        return adopt(self, network, full_precision)

    monkeypatch.setattr(networks, "TensorFile", counting(networks.TensorFile))
    monkeypatch.setattr(tensors, "state_dict", counting(tensors.state_dict))
    monkeypatch.setattr(MiniatureHost, "adopt", noting)
    script = load_script(lambda: host)
    webui.process_images(request(webui, script))
    assert (read_files, adopted) == ([], [])
    assert script.handlers.networks._kept == {}
    # a method that decodes no transparency needs no network either, only its layer file
    blending = next(
        method for method in METHODS if method.pictures and not method.decodes_alpha and method.frames == 1
    )
    webui.process_images(request(webui, script, arguments(blending)))
    assert (read_files, adopted) == ([blending.weights.filename], [])
    webui.process_images(request(webui, script, arguments()))
    assert len(adopted) == 1
    host.settings["layerdiffuse_keep_networks"] = False
    webui.process_images(request(webui, script, arguments()))
    assert script.handlers.networks._kept == {}
    assert script.handlers.networks._layer_file is None
