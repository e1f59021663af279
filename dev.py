"""The developer's one entry. It needs Python 3.10 to 3.13 and prepares everything else in .venv.

python dev.py demo [...]     run the miniature host on its built-in pictures; arguments go to it
python dev.py check [...]    formatting, lint, types and tests; arguments go to pytest
python dev.py setup          only prepare .venv
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import platform
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
READY = VENV / ".ready"
REQUIREMENTS = ROOT / "requirements-dev.txt"
OLDEST, NEWEST = (3, 10), (3, 13)

# A bare install brings several GB of CUDA packages from PyPI on Linux, unless pip finds a CPU wheel.
# TORCH_INDEX_URL=https://download.pytorch.org/whl/cpu asks for the CPU build; it is used for torch alone.
TORCH = "torch==2.13.0"
INSTALLS = ([TORCH], ["-r", str(REQUIREMENTS.relative_to(ROOT))])

BROWSERS = ("chromium", "google-chrome", "chromium-browser")
CHECKS = (["ruff", "format", "--check", "."], ["ruff", "check", "."], ["mypy"], ["pytest"])


class Failure(Exception):
    """Shown to the developer as it is: one sentence."""


def run(command: list[str], env: dict[str, str] | None = None) -> int:
    print("$", shlex.join(command), flush=True)
    return subprocess.run(command, cwd=ROOT, env=env, check=False).returncode


def run_tool(tool: list[str]) -> int:
    return run([str(PYTHON), "-m", *tool])


def fingerprint() -> str:
    """Change when a finished environment no longer is what this file would build."""
    parts = (REQUIREMENTS.read_text("utf-8"), repr(INSTALLS), platform.python_version())
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def is_ready(wanted: str) -> bool:
    return PYTHON.exists() and READY.exists() and READY.read_text("utf-8") == wanted


def check_interpreter() -> None:
    if not OLDEST <= sys.version_info[:2] <= NEWEST:
        here = platform.python_version()
        raise Failure(f"This is Python {here}; run dev.py with Python 3.11 (3.10 to 3.13 work too).")
    if any(importlib.util.find_spec(module) is None for module in ("venv", "ensurepip")):
        raise Failure(
            "This Python cannot create virtual environments; add its venv package "
            "(Debian, Ubuntu: apt install python3-venv) and run dev.py again."
        )


def setup() -> None:
    """Build .venv from nothing unless a finished one matches; the mark is written last."""
    check_interpreter()
    wanted = fingerprint()
    if is_ready(wanted):
        return
    print("Preparing .venv; this takes a few minutes and about 2 GB.", flush=True)
    if run([sys.executable, "-m", "venv", "--clear", str(VENV)]):
        raise Failure(f"Could not create {VENV}; delete that folder and run dev.py again.")
    torch_index = os.environ.get("TORCH_INDEX_URL")
    for packages in INSTALLS:
        index = ["--index-url", torch_index] if torch_index and TORCH in packages else []
        if run_tool(["pip", "install", "-q", "--disable-pip-version-check", *index, *packages]):
            raise Failure(f"pip could not install {packages[-1]}; its messages above say why.")
    READY.write_text(wanted, "utf-8")


def provide_browser() -> None:
    """Install Chromium where that takes no question; without one the browser tests skip themselves."""
    if os.environ.get("CHROMIUM") or any(map(shutil.which, BROWSERS)):
        return
    is_root = hasattr(os, "geteuid") and os.geteuid() == 0
    if not (is_root and shutil.which("apt-get")):
        return
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    install = ["apt-get", "install", "-y", "-q", "--no-install-recommends", "chromium"]
    if run(["apt-get", "update", "-q"], quiet) or run(install, quiet):
        print("No Chromium: the browser tests will be skipped.", flush=True)


def check(pytest_arguments: list[str]) -> int:
    provide_browser()
    failed = []
    for tool in CHECKS:
        arguments = pytest_arguments if tool == ["pytest"] else []
        if run_tool([*tool, *arguments]):
            failed.append(" ".join(tool[:2]))
    if failed:
        raise Failure(f"Failed: {', '.join(failed)}.")
    print("All checks passed.")
    return 0


def main(arguments: list[str]) -> int:
    command, *rest = arguments or ["help"]
    if command not in ("demo", "check", "setup"):
        print(__doc__)
        return int(command not in ("help", "-h", "--help"))
    setup()
    if command == "demo":
        return run_tool(["miniature", *rest])
    if command == "check":
        return check(rest)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (Failure, OSError) as error:
        sys.exit(f"dev.py: {error}")
    except KeyboardInterrupt:
        sys.exit("dev.py: Interrupted.")
