"""What computes: its name, its memory and its driver, as far as that can be told."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

NVIDIA = ("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader")
SECONDS = 5
"""That it may take to say so."""


class Device(NamedTuple):
    """`memory` in bytes is 0 where it has none of its own, `driver` is "" where there is none to tell."""

    name: str
    memory: int = 0
    driver: str = ""


def device() -> Device | None:
    """Return the one that PyTorch computes on, None where it is not loaded."""
    torch = sys.modules.get("torch")
    if torch is None:
        return None
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        runtime = f"CUDA {torch.version.cuda}" if torch.version.cuda else f"ROCm {torch.version.hip}"
        told = ", ".join(filter(None, [_driver(), runtime]))
        return Device(properties.name, properties.total_memory, told)
    if torch.backends.mps.is_available():
        return Device(f"{_processor()} (mps)")
    return Device(f"{_processor()} (cpu, {torch.get_num_threads()} threads)")


def _driver() -> str:
    if shutil.which(NVIDIA[0]) is None:
        return ""
    try:
        done = subprocess.run(NVIDIA, capture_output=True, text=True, timeout=SECONDS, check=False)
    except (OSError, subprocess.SubprocessError):
        return ""
    lines = done.stdout.split() if done.returncode == 0 else []
    return f"driver {lines[0]}" if lines else ""


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
