"""install.py as hosts run it: a process of its own, with the WebUI root on PYTHONPATH; pip is a stand-in."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

import install

ROOT = Path(__file__).resolve().parent.parent

# Python reads sitecustomize at start: here it makes modules look missing.
HIDE_MODULES = """
import importlib.util, os
real = importlib.util.find_spec
hidden = os.environ["HIDDEN"].split()
importlib.util.find_spec = lambda name, package=None: None if name in hidden else real(name, package)
"""
# Found before the real pip: writes down its arguments and ends as told.
FAKE_PIP = """
import json, os, sys
with open(os.environ["FAKE_PIP_LOG"], "a") as log:
    log.write(json.dumps(sys.argv[1:]) + "\\n")
print("pip's own chatter")
sys.exit(int(os.environ["FAKE_PIP_EXIT"]))
"""
FAKE_LAUNCH = """
import os
def run_pip(command, desc=None):
    print(f"Installing {desc}")
    if os.environ["FAKE_PIP_EXIT"] != "0":
        raise RuntimeError(f"Couldn't install {desc}.\\nCommand: {command}\\nError code: 1")
    with open(os.environ["FAKE_PIP_LOG"], "a") as log:
        log.write('"run_pip ' + command.replace('"', "'") + '"\\n')
"""


@dataclass
class Result:
    returncode: int
    lines: list[str]
    stderr: str
    pip_calls: list[object]


class WebUI:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.log = root / "pip.log"
        (root / "pip").mkdir()
        (root / "pip" / "__init__.py").touch()
        (root / "pip" / "__main__.py").write_text(FAKE_PIP)
        (root / "sitecustomize.py").write_text(HIDE_MODULES)

    def add_launch(self, source: str = FAKE_LAUNCH) -> None:
        (self.root / "launch.py").write_text(source)

    def run(self, *arguments: str, missing: str = "", pip_exit: int = 0, commandline: str = "") -> Result:
        env = {
            **os.environ,
            "PYTHONPATH": str(self.root),
            "COMMANDLINE_ARGS": commandline,
            "HIDDEN": missing,
            "FAKE_PIP_LOG": str(self.log),
            "FAKE_PIP_EXIT": str(pip_exit),
        }
        command = [sys.executable, str(ROOT / "install.py"), *arguments]
        done = subprocess.run(command, env=env, cwd=self.root, capture_output=True, text=True, check=False)
        calls = [json.loads(line) for line in self.log.read_text().splitlines()] if self.log.exists() else []
        return Result(done.returncode, done.stdout.splitlines(), done.stderr, calls)


@pytest.fixture
def webui(tmp_path: Path) -> WebUI:
    return WebUI(tmp_path)


def test_nothing_missing_is_silent(webui: WebUI) -> None:
    assert webui.run() == Result(0, [], "", [])


@pytest.mark.parametrize(("module", "package"), install.PACKAGES.items())
def test_only_the_missing_package_is_installed(webui: WebUI, module: str, package: str) -> None:
    result = webui.run(missing=module)
    assert result.pip_calls == [["install", package]]
    assert (result.returncode, result.stderr) == (0, "")
    assert result.lines == [f"Installed {package} for LayerDiffuse"]


def test_host_pip_is_preferred(webui: WebUI) -> None:
    webui.add_launch()
    result = webui.run(missing="einops")
    assert result.pip_calls == ["run_pip install 'einops'"]
    assert result.lines == ["Installing einops for LayerDiffuse"]


@pytest.mark.parametrize("source", ["import package_of_another_host", "run = None"])
def test_unusable_launch_module_falls_back_to_pip(webui: WebUI, source: str) -> None:
    webui.add_launch(source)
    assert webui.run(missing="einops").pip_calls == [["install", "einops"]]


def test_failure_is_one_sentence_and_the_rest_is_still_tried(webui: WebUI) -> None:
    result = webui.run(missing="einops safetensors", pip_exit=1)
    assert result.pip_calls == [["install", "einops"], ["install", "safetensors"]]
    assert (result.returncode, result.stderr) == (0, "")
    first, second = result.lines
    assert first.startswith("LayerDiffuse could not install einops; run ")
    assert '-m pip install "einops"' in first
    assert "safetensors" in second


def test_host_pip_failure_is_one_sentence(webui: WebUI) -> None:
    webui.add_launch()
    result = webui.run(missing="einops", pip_exit=1)
    assert (result.returncode, result.stderr) == (0, "")
    announced, sentence = result.lines
    assert announced == "Installing einops for LayerDiffuse"
    assert '-m pip install "einops"' in sentence


def test_skip_install_does_nothing(webui: WebUI) -> None:
    assert webui.run("--skip-install", missing="einops") == Result(0, [], "", [])
    assert webui.run(missing="einops", commandline="--api --skip-install") == Result(0, [], "", [])


def test_other_arguments_do_not_skip(webui: WebUI) -> None:
    assert webui.run("--skip-install-not", missing="einops", commandline="--api").pip_calls


def test_packages_that_hosts_pin_are_never_named() -> None:
    pinned = ("torch", "numpy", "pillow", "gradio", "pydantic")
    assert not [package for package in install.PACKAGES.values() if package.lower().startswith(pinned)]
