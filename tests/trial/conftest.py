"""The trained miniature behind the whole web API, and the command that tries it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lib_layerdiffusion.methods import SDXL
from lib_layerdiffusion.trial import connection, main
from lib_layerdiffusion.trial.client import AUTH
from miniature.webui.api import serve
from miniature.webui.demo import Trained
from miniature.webui.site import Site

QUICK = ("--size", "64", "--repeats", "1")


@pytest.fixture(autouse=True)
def _nothing_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(AUTH, raising=False)
    monkeypatch.setattr(connection, "WAITS", (0,))


@pytest.fixture(scope="session")
def trained() -> Trained:
    return Trained()


@pytest.fixture
def site(trained: Trained, tmp_path: Path) -> Site:
    trained.load(SDXL)
    return Site(trained, tmp_path / "outputs")


@pytest.fixture
def attempt(site: Site) -> Iterator[Callable[..., int]]:
    """Run the command against the miniature; small pictures, and no more of them than are needed."""
    with serve(lambda *request: site.answer(*request), site.look) as url:
        yield lambda *arguments: main.main(["--url", url, *QUICK, *arguments])
