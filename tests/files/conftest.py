"""A hub on this machine, and a folder that weight files are fetched into."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lib_layerdiffusion.files import download
from lib_layerdiffusion.files.download import Source
from lib_layerdiffusion.files.store import WeightStore
from tests.helpers.downloads import CONTENT, FILE, Watcher, constants
from tests.helpers.hub_server import Hub, serve


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setattr(download, "WAITS", (0.05, 0.05, 0.05))
    monkeypatch.setattr(download, "TIMEOUT", 2.0)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with serve() as hub:
        hub.files[FILE.filename] = CONTENT
        yield hub


@pytest.fixture
def fetch(hub: Hub, tmp_path: Path) -> Callable[..., Path]:
    def run(watch: Watcher | None = None, folder: Path = tmp_path) -> Path:
        return WeightStore(folder, Source(hub.endpoint), watch).ensure(FILE)

    return run
