"""The element ids that docs/settings.md promises to scripts and style sheets."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

SETTINGS = Path(__file__).parents[2] / "docs/settings.md"


def documented() -> set[str]:
    """Short names, after the part that all ids have in common."""
    _, _, rest = SETTINGS.read_text("utf-8").partition("Element ids")
    names, _, each = rest.partition("</details>")[0].partition(" and each of these three with ")
    plain = re.findall(r"`([a-z_]+[a-z])`", names)
    layers = [name for name in plain if name in ("foreground", "background", "blended")]
    return {*plain, *(layer + ending for layer in layers for ending in re.findall(r"`(_\w+)`", each))}


def test_ids_are_on_the_page(script: Any) -> None:
    gradio = pytest.importorskip("gradio")
    with gradio.Blocks(analytics_enabled=False) as page:
        script.ui(False)
    ids = {block.elem_id for block in page.blocks.values() if block.elem_id}
    assert len(documented()) == 33
    assert {f"script_txt2img_layerdiffuse_{name}" for name in documented()} - ids == set()
