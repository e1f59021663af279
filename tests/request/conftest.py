"""The web API of the miniature on the loopback."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from lib_layerdiffusion.methods import SD15, SDXL
from miniature.nets.random_weights import BaseModel
from miniature.webui.api import answer_with, serve
from miniature.webui.host import MiniatureHost
from miniature.webui.processing import WebUI
from miniature.webui.script import load_script
from tests.helpers.fresh_networks import fresh


@pytest.fixture(scope="module")
def received() -> list[dict[str, Any]]:
    """Every request that came to `server`, as it came."""
    return []


@pytest.fixture(scope="module")
def server(
    models_dir: Path, base: BaseModel, base15: BaseModel, received: list[dict[str, Any]]
) -> Iterator[str]:
    """A WebUI that always has the right checkpoint, and makes small pictures in two steps."""
    bases = {SDXL: base, SD15: base15}
    webuis = {family: WebUI(fresh(bases[family])) for family in bases}
    scripts = {family: load_script(partial(MiniatureHost, models_dir, family.key)) for family in bases}

    def choose(request: Mapping[str, Any]) -> tuple[WebUI, Any]:
        family = SD15 if "(SD1.5)" in json.dumps(request) else SDXL
        return webuis[family], scripts[family]

    answer = answer_with(choose)

    def answer_small(path: str, request: Mapping[str, Any]) -> Mapping[str, Any]:
        received.append(dict(request))
        return answer(path, {**request, "steps": 2, "width": 64, "height": 64})

    with serve(answer_small) as url:
        yield url
