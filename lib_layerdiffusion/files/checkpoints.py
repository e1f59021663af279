"""The family of a checkpoint file, told by its header alone."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from lib_layerdiffusion.files import header

UNET = "model.diffusion_model."
TRANSFORMERS = {("blocks.0.mlp.layer1.weight", "llm_adapter.blocks.0.cross_attn.q_proj.weight"): "anima"}
"""Families by parameters that no other has, under any of these prefixes."""
PREFIXES = (UNET, "net.", "")
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
    tensors = _tensors(path)
    for names, key in TRANSFORMERS.items():
        if any(all(f"{prefix}{name}" in tensors for name in names) for prefix in PREFIXES):
            return key
    widths = {
        shape[-1]
        for name, fields in tensors.items()
        if name.startswith(UNET) and name.endswith(CONTEXT) and len(shape := _shape(fields)) == 2
    }
    if len(widths) == 1:
        return FAMILIES.get(widths.pop(), "")
    # packed weights have other shapes, so only a model without a UNet's attention is surely another one
    has_unet = any(name.startswith(f"{UNET}input_blocks.") for name in tensors)
    has_model = any(name.startswith(UNET) for name in tensors)
    return "" if has_model and not has_unet else None


def _tensors(path: Path) -> dict[str, Any]:
    """What the header of a .safetensors file says of each tensor; empty for everything else."""
    try:
        with path.open("rb") as file:
            return header.json_header(file)[0]
    except (OSError, ValueError):
        return {}


def _shape(fields: Any) -> list[int]:
    shape = fields.get("shape") if isinstance(fields, dict) else None
    return shape if isinstance(shape, list) and all(isinstance(side, int) for side in shape) else []
