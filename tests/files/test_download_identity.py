"""Parts of a download belong together, and no more of it comes than was said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lib_layerdiffusion.errors import DownloadFailed, Interrupted
from lib_layerdiffusion.files.source import Source
from lib_layerdiffusion.files.store import WeightStore
from tests.helpers.downloads import CONTENT, FILE, Watcher, encoder_file, kept
from tests.helpers.hub_server import Hub

Fetch = Callable[..., Path]
OTHER = encoder_file(seed=1)


def break_off(hub: Hub, fetch: Fetch, at: int = 2_000_000) -> None:
    hub.cuts = [at, 0, 0, 0, 0]
    with pytest.raises(DownloadFailed):
        fetch()
    hub.cuts = []


def test_without_an_etag_nothing_is_continued(hub: Hub, fetch: Fetch) -> None:
    """Both releases have the same size and layout: the mixed file would be taken for one."""
    hub.names_content, hub.etag = False, ""
    break_off(hub, fetch)
    hub.files[FILE.filename] = OTHER
    assert fetch().read_bytes() == OTHER
    assert not any("bytes=" in request for request in hub.downloads)


def test_without_an_etag_a_line_that_breaks_is_begun_anew(hub: Hub, fetch: Fetch) -> None:
    hub.names_content, hub.etag = False, ""
    hub.cuts = [2_000_000, 3_000_000]
    assert fetch().read_bytes() == CONTENT
    assert not any("bytes=" in request for request in hub.downloads)


def test_without_an_etag_an_interrupt_promises_nothing(hub: Hub, fetch: Fetch) -> None:
    hub.names_content, hub.etag = False, ""
    hub.piece, hub.pause = 200_000, 0.05
    with pytest.raises(Interrupted, match="the next generation begins anew, since the mirror does not say"):
        fetch(Watcher(after=3))


@pytest.mark.parametrize("etags", [('"one"', '"two"'), ('"0123456789abcdef-1"', '"0123456789abcdef-2"')])
def test_another_etag_is_another_file(hub: Hub, fetch: Fetch, etags: tuple[str, str]) -> None:
    """Also where they begin alike."""
    hub.names_content, hub.etag = False, etags[0]
    break_off(hub, fetch)
    hub.files[FILE.filename], hub.etag = OTHER, etags[1]
    assert fetch().read_bytes() == OTHER


def test_the_same_etag_is_continued(hub: Hub, fetch: Fetch, tmp_path: Path) -> None:
    hub.names_content = False
    break_off(hub, fetch)
    (size,) = kept(tmp_path)
    assert fetch().read_bytes() == CONTENT
    assert hub.downloads[-1].endswith(f"bytes={size}-")


@pytest.mark.parametrize("etag", ["", '"named"'])
def test_no_more_is_written_than_was_announced(
    hub: Hub, fetch: Fetch, tmp_path: Path, etag: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.names_content, hub.etag = False, etag
    hub.altered[FILE.filename] = CONTENT + bytes(30_000_000)
    thrown_away: list[int] = []
    unlink = Path.unlink

    def measured(self: Path, missing_ok: bool = False) -> None:
        thrown_away.extend(kept(tmp_path))
        unlink(self, missing_ok)

    monkeypatch.setattr(Path, "unlink", measured)
    with pytest.raises(DownloadFailed, match=f"more than the {len(CONTENT)} bytes of the file came"):
        fetch()
    assert 0 < max(thrown_away) <= len(CONTENT)
    assert kept(tmp_path) == []
    assert not (tmp_path / FILE.filename).exists()


def test_a_hub_that_announces_no_size_cannot_fill_the_disk(hub: Hub, fetch: Fetch, tmp_path: Path) -> None:
    hub.names_content, hub.announces_size = False, False
    assert fetch().read_bytes() == CONTENT
    (tmp_path / FILE.filename).unlink()
    hub.altered[FILE.filename] = CONTENT + bytes(4 * FILE.size)
    with pytest.raises(DownloadFailed, match=f"more than the {4 * FILE.size} bytes"):
        fetch()
    assert kept(tmp_path) == []


@pytest.mark.parametrize(("first", "asked_again"), [(0, False), (1_000_000, False), (2_500_000, True)])
def test_an_answer_that_begins_elsewhere_is_put_where_it_belongs(
    hub: Hub, fetch: Fetch, first: int, asked_again: bool
) -> None:
    break_off(hub, fetch)
    hub.first = first
    if asked_again:
        with pytest.raises(DownloadFailed, match=f"byte {first} came where byte"):
            fetch()
        hub.first = None
    before = len(hub.downloads)
    assert fetch().read_bytes() == CONTENT
    assert len(hub.downloads) == before + 1


@pytest.mark.parametrize("slashes", ["/", "//"])
@pytest.mark.parametrize("by_environment", [True, False])
def test_an_address_with_a_slash_at_its_end(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slashes: str, by_environment: bool
) -> None:
    source = Source("" if by_environment else f" {hub.endpoint}{slashes}")
    monkeypatch.setenv("HF_ENDPOINT", f"{hub.endpoint}{slashes} " if by_environment else "http://127.0.0.1:9")
    assert WeightStore(tmp_path, source).ensure(FILE).read_bytes() == CONTENT
    assert not any("//" in request.split()[1] for request in hub.requests)


@pytest.mark.parametrize("address", ["hf-mirror.example", "ftp://mirror.example", "file:///etc"])
def test_an_address_that_is_none(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", address)
    with pytest.raises(DownloadFailed, match=f'the address "{address}" .* must begin with https://'):
        WeightStore(tmp_path).ensure(FILE)
    assert hub.requests == []
