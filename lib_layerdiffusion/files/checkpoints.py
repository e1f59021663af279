"""The family of a checkpoint file, told by its header alone."""

from __future__ import annotations

import json
import struct
from functools import lru_cache
from pathlib import Path
from typing import Any

LARGEST_HEADER = 100_000_000
UNET = "model.diffusion_model."
CONTEXT = "attn2.to_k.weight"
FAMILIES = {2048: "sdxl", 768: "sd15"}
"""By the width of the text that the UNet's cross attention takes."""


def family(path: Path) -> str | None:
    """Return a family's key, "" for a model of no family that has methods, None where it cannot be told."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return _family(path, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=64)
def _family(path: Path, changed: int, size: int) -> str | None:
    header = _header(path)
    widths = {
        tensor["shape"][-1]
        for name, tensor in header.items()
        if name.startswith(UNET) and name.endswith(CONTEXT) and len(tensor.get("shape", ())) == 2
    }
    if len(widths) == 1:
        return FAMILIES.get(widths.pop(), "")
    # packed weights have other shapes, so only a model without a UNet's attention is surely another one
    has_unet = any(name.startswith(f"{UNET}input_blocks.") for name in header)
    has_model = any(name.startswith(UNET) for name in header)
    return "" if has_model and not has_unet else None


def _header(path: Path) -> dict[str, Any]:
    """The header of a .safetensors file; empty for everything else."""
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(length)) if length <= LARGEST_HEADER else {}
    except (OSError, struct.error, ValueError):
        return {}
    return header if isinstance(header, dict) else {}
