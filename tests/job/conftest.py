"""The miniature WebUI with a checkpoint of either family; a transparent decode is one pass.

The jobs around it are the subject here. tests/transparency and tests/models have the vote of eight.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from miniature.nets.random_weights import BaseModel
from miniature.webui.host import MiniatureHost
from miniature.webui.processing import Processed, WebUI
from miniature.webui.script import load_script
from tests.helpers.fresh_networks import fresh
from tests.helpers.jobs import ONE_PASS, request
from tests.helpers.sd15_jobs import Generate


@pytest.fixture
def host(host: MiniatureHost) -> MiniatureHost:
    host.settings |= ONE_PASS
    return host


@pytest.fixture
def host15(models_dir: Path) -> MiniatureHost:
    host = MiniatureHost(models_dir, family="sd15")
    host.settings |= ONE_PASS
    return host


@pytest.fixture
def webui15(base15: BaseModel) -> WebUI:
    return WebUI(fresh(base15))


@pytest.fixture
def generate15(webui15: WebUI, host15: MiniatureHost) -> Generate:
    script = load_script(lambda: host15)

    def run(args: list[Any] | None = None, **settings: Any) -> Processed:
        return webui15.answer(request(webui15, script, args, **settings))

    return run
