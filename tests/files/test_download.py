"""Fetching weight files from a hub on this machine that behaves as badly as real lines do."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from lib_layerdiffusion.errors import DownloadFailed
from lib_layerdiffusion.files import download
from lib_layerdiffusion.files.download import LATEST, Source
from lib_layerdiffusion.files.store import WeightStore
from lib_layerdiffusion.weight_files import LAYERDIFFUSION, WeightFile
from tests.helpers.downloads import CONTENT, FILE, Watcher, encoder_file, kept
from tests.helpers.hub_server import Hub


def test_a_missing_file_comes_to_its_place(hub: Hub, fetch: Callable[..., Path], tmp_path: Path) -> None:
    folder = tmp_path / "modèles de Zoë" / "layer_model"
    assert fetch(folder=folder) == folder / FILE.filename
    assert (folder / FILE.filename).read_bytes() == CONTENT
    assert [path.name for path in folder.iterdir() if path.is_file()] == [FILE.filename]
    assert kept(folder) == []
    hub.requests.clear()
    fetch(folder=folder)
    assert hub.requests == []


def test_the_pinned_revision_is_asked_for(hub: Hub, fetch: Callable[..., Path]) -> None:
    fetch()
    assert all(
        f"/resolve/{LAYERDIFFUSION.revision}/" in request
        for request in hub.requests
        if "elsewhere" not in request
    )


def test_a_mirror_without_the_pinned_revision_gives_its_latest(hub: Hub, fetch: Callable[..., Path]) -> None:
    hub.revisions = (LATEST,)
    assert fetch().read_bytes() == CONTENT


@pytest.mark.parametrize("cut", [0, 1, 7, 65535, 65536, 1_000_000, len(CONTENT) - 1])
def test_a_line_that_breaks_at_any_byte(hub: Hub, fetch: Callable[..., Path], cut: int) -> None:
    hub.cuts = [cut]
    assert fetch().read_bytes() == CONTENT
    starts = [
        int(request.rpartition("bytes=")[2].rstrip("-") or 0)
        for request in hub.downloads[1:]
        if "bytes" in request
    ]
    # what had come in whole pieces was not asked for again
    assert sum(starts) >= cut - download.PIECE


def test_a_line_that_breaks_again_and_again(hub: Hub, fetch: Callable[..., Path]) -> None:
    hub.cuts = [300_000] * 12
    assert fetch().read_bytes() == CONTENT
    assert len(hub.downloads) == 13


def test_what_came_is_kept_when_the_line_stays_down(
    hub: Hub, fetch: Callable[..., Path], tmp_path: Path
) -> None:
    hub.cuts = [2_000_000, 0, 0, 0, 0]
    with pytest.raises(DownloadFailed, match="Try again to go on with it"):
        fetch()
    assert not (tmp_path / FILE.filename).exists()
    (size,) = kept(tmp_path)
    assert 1_900_000 < size <= 2_000_000
    assert fetch().read_bytes() == CONTENT
    assert hub.downloads[-1].endswith(f"bytes={size}-")


def test_a_hub_that_always_sends_everything(hub: Hub, fetch: Callable[..., Path]) -> None:
    hub.cuts, hub.ignores_range = [2_000_000], True
    assert fetch().read_bytes() == CONTENT
    assert len(hub.downloads) == 2


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_hub_is_asked_again(hub: Hub, fetch: Callable[..., Path], status: int) -> None:
    hub.statuses = [status, status]
    assert fetch().read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("status", "sentence"),
    [(401, "refuses access"), (403, "refuses access"), (404, "does not have it"), (500, "500")],
)
def test_a_hub_that_refuses(
    hub: Hub, fetch: Callable[..., Path], tmp_path: Path, status: int, sentence: str
) -> None:
    hub.statuses = [status] * 99
    with pytest.raises(DownloadFailed) as caught:
        fetch()
    message = str(caught.value)
    assert sentence in message
    assert str(tmp_path) in message
    assert (
        f"{hub.endpoint}/{LAYERDIFFUSION.name}/resolve/{LAYERDIFFUSION.revision}/{FILE.filename}" in message
    )
    assert "\n" not in message
    assert len(hub.requests) == (1 if status < 429 else 4)


def test_a_hub_that_is_not_there(fetch: Callable[..., Path], hub: Hub, tmp_path: Path) -> None:
    store = WeightStore(tmp_path, Source("http://127.0.0.1:9"))
    with pytest.raises(DownloadFailed, match=f"{FILE.filename} .* could not be downloaded"):
        store.ensure(FILE)


def test_a_hub_that_says_nothing(
    hub: Hub, fetch: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(download, "TIMEOUT", 0.3)
    monkeypatch.setattr(download, "WAITS", ())
    hub.piece, hub.pause = 1_000_000, 1.0
    with pytest.raises(DownloadFailed, match=r"imed? ?out"):
        fetch()
    assert kept(tmp_path)[0] >= 900_000


def test_wrong_bytes_are_thrown_away_and_asked_for_again(hub: Hub, fetch: Callable[..., Path]) -> None:
    hub.altered[FILE.filename] = CONTENT[:-9] + b"otherbits"
    hub.cuts = [1_500_000]

    class Repairs(Watcher):
        def report(self, text: str, fraction: float | None) -> None:
            if text.startswith("checking"):
                hub.altered.clear()

    assert fetch(Repairs()).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda content: content[:-9] + b"otherbits", "what came is not what the hub has"),
        (lambda content: content + b"more", "more than the .* bytes of the file came"),
    ],
)
def test_wrong_bytes_twice(
    hub: Hub, fetch: Callable[..., Path], tmp_path: Path, change: Callable[[bytes], bytes], sentence: str
) -> None:
    hub.altered[FILE.filename] = change(CONTENT)
    with pytest.raises(DownloadFailed, match=sentence):
        fetch()
    assert not (tmp_path / FILE.filename).exists()
    assert kept(tmp_path) == []


def test_a_page_in_place_of_the_file(hub: Hub, fetch: Callable[..., Path], tmp_path: Path) -> None:
    hub.files[FILE.filename] = b"<html>Please log in to the hotel's network</html>"
    with pytest.raises(DownloadFailed, match="what came is no such file"):
        fetch()
    assert not (tmp_path / FILE.filename).exists()


def test_a_mirror_that_does_not_name_the_content(hub: Hub, fetch: Callable[..., Path]) -> None:
    hub.names_content = False
    hub.cuts = [1_000_000]
    assert fetch().read_bytes() == CONTENT


def test_the_part_of_another_release_is_not_continued(
    hub: Hub, fetch: Callable[..., Path], tmp_path: Path
) -> None:
    hub.cuts = [2_000_000, 0, 0, 0, 0]
    with pytest.raises(DownloadFailed):
        fetch()
    hub.files[FILE.filename] = encoder_file(seed=1)
    assert fetch().read_bytes() == encoder_file(seed=1)
    assert "bytes=" not in hub.downloads[-1]
    assert kept(tmp_path) == []


def test_a_hash_that_was_published_only_warns(
    hub: Hub, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    published = WeightFile(FILE.name, FILE.holds, (len(CONTENT),), "0" * 64)
    assert WeightStore(tmp_path, Source(hub.endpoint)).ensure(published).read_bytes() == CONTENT
    assert "is not the released file of that name" in caplog.text
    assert hashlib.sha256(CONTENT).hexdigest()[:12] in caplog.text
