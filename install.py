"""Install what the extension imports and the host lacks; hosts run this file at every launch.

All of it ships with every host, so this normally does and prints nothing. A package that can be imported is
never touched, whatever its version.
"""

from __future__ import annotations

import importlib.util
import os
import shlex
import subprocess
import sys
from collections.abc import Callable

# What is imported -> what pip is asked for. The bounds keep an install from replacing what hosts pin:
# newer OpenCV wants numpy 2, and gradio 4 cannot be imported with huggingface_hub 1.
PACKAGES = {
    "cv2": "opencv-python-headless<4.12",
    "einops": "einops",
    "safetensors": "safetensors",
    "huggingface_hub": "huggingface_hub<1",
}

RunPip = Callable[[str, str], object]


def is_skipped() -> bool:
    """The host's --skip-install, given to this file or to the host."""
    return "--skip-install" in (*sys.argv[1:], *os.environ.get("COMMANDLINE_ARGS", "").split())


def missing_packages() -> list[str]:
    return [package for module, package in PACKAGES.items() if importlib.util.find_spec(module) is None]


def plain_pip(command: str, desc: str) -> None:
    subprocess.run([sys.executable, "-m", "pip", *shlex.split(command)], check=True, capture_output=True)
    print(f"Installed {desc}")


def find_run_pip() -> RunPip:
    """The host's own `run_pip`, which knows its index and switches, or plain pip where there is no host."""
    try:
        from launch import run_pip
    except Exception:  # importing a host's launcher runs its code, which can fail in any way
        return plain_pip
    host_pip: RunPip = run_pip
    return host_pip


def install(package: str, run_pip: RunPip) -> None:
    command = f'install "{package}"'  # quoted: hosts hand the command to a shell
    try:
        run_pip(command, f"{package} for LayerDiffuse")
    except Exception:  # hosts raise RuntimeError, pip CalledProcessError; a launch must go on after either
        print(f'LayerDiffuse could not install {package}; run "{sys.executable}" -m pip {command} by hand.')


def main() -> None:
    if is_skipped():
        return
    packages = missing_packages()
    if packages:
        run_pip = find_run_pip()
        for package in packages:
            install(package, run_pip)


if __name__ == "__main__":
    main()
