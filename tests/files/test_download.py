"""Fetching weight files from a hub on this machine that behaves as badly as real lines do.

`dev.py check` runs this file a second time over huggingface_hub 2.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from lib_layerdiffusion.errors import DownloadFailed, Interrupted
from lib_layerdiffusion.files import download
from lib_layerdiffusion.files.download import LATEST, REVISION, Source
from lib_layerdiffusion.files.progress import NobodyWatches
from lib_layerdiffusion.files.records import WORK_FOLDER
from lib_layerdiffusion.files.store import WeightStore
from lib_layerdiffusion.methods import SDXL, WeightFile
from lib_layerdiffusion.models.encoder_and_decoder import TransparencyEncoder
from tests.helpers.hub_server import Hub, serve

huggingface_hub = pytest.importorskip("huggingface_hub")
constants = pytest.importorskip("huggingface_hub.constants")

ROOT = Path(__file__).resolve().parents[2]
FILE = SDXL.encoder


def encoder_file(seed: int = 0) -> bytes:
    """A real file of the name: 4.7 MB of random numbers with the encoder's layout."""
    torch.manual_seed(seed)
    return save(TransparencyEncoder().state_dict())


CONTENT = encoder_file()

ENSURE = """
import sys
from pathlib import Path
from lib_layerdiffusion import errors, methods
from lib_layerdiffusion.files import download
from lib_layerdiffusion.files import store

store = store.WeightStore(Path(sys.argv[1]), download.Source(sys.argv[2]))
try:
    store.ensure(methods.SDXL.encoder)
except errors.DownloadFailed as error:
    print(error)
"""
"""What another program does; its arguments are the folder and the hub's address."""


class Watcher(NobodyWatches):
    """Keeps what it is shown and presses Interrupt after `after` reports."""

    def __init__(self, after: int | None = None) -> None:
        self.after = after
        self.lines: list[tuple[str, float | None]] = []

    def report(self, text: str, fraction: float | None) -> None:
        self.lines.append((text, fraction))

    def interrupted(self) -> bool:
        return self.after is not None and len([text for text, _ in self.lines if text]) >= self.after


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


def kept(folder: Path) -> list[int]:
    """Sizes of the unfinished downloads."""
    return [part.stat().st_size for part in (folder / WORK_FOLDER).glob("*.part")]


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
    assert all(f"/resolve/{REVISION}/" in request for request in hub.requests if "elsewhere" not in request)


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
    assert f"{hub.endpoint}/{download.REPOSITORY}/resolve/{REVISION}/{FILE.filename}" in message
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
        (lambda content: content + b"more", "bytes came instead of"),
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


def test_progress_tells_amount_speed_and_time_left(hub: Hub, fetch: Callable[..., Path]) -> None:
    hub.piece, hub.pause = 500_000, 0.1
    watch = Watcher()
    fetch(watch)
    lines = [(text, fraction) for text, fraction in watch.lines if text.startswith("downloading")]
    fractions = [fraction for _, fraction in lines if fraction is not None]
    assert len(fractions) >= 3
    assert fractions == sorted(fractions)
    assert 0 < fractions[0] < fractions[-1] <= 1
    assert all(FILE.filename in text for text, _ in lines)
    assert "of 5 MB, " in lines[-1][0]
    assert "MB/s, 00:0" in lines[-1][0]
    assert watch.lines[-1] == ("", None)


def test_interrupt_stops_it_and_keeps_the_part(hub: Hub, fetch: Callable[..., Path], tmp_path: Path) -> None:
    hub.piece, hub.pause = 200_000, 0.1
    began = time.monotonic()
    with pytest.raises(Interrupted, match="are kept, and the next generation goes on from there") as caught:
        fetch(Watcher(after=3))
    assert time.monotonic() - began < 1.5
    (size,) = kept(tmp_path)
    assert f"{size / 1e6:.0f} of 5 MB" in str(caught.value)
    assert 0 < size < len(CONTENT)
    hub.pause = 0
    assert fetch().read_bytes() == CONTENT
    assert hub.downloads[-1].endswith(f"bytes={size}-")


def test_interrupt_while_there_is_no_connection(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(download, "WAITS", (60.0,))
    began = time.monotonic()
    with pytest.raises(Interrupted):
        WeightStore(tmp_path, Source("http://127.0.0.1:9"), watch := Watcher(after=1)).ensure(FILE)
    assert time.monotonic() - began < 5
    assert [bool(text) for text, _ in watch.lines] == [True, False]


def test_a_full_disk_is_noticed_before(
    hub: Hub, fetch: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(download.shutil, "disk_usage", lambda path: usage._replace(free=5_000_000))
    with pytest.raises(DownloadFailed, match="needs 38 MB more and the disk has 5 MB free"):
        fetch()
    assert hub.downloads == []
    monkeypatch.undo()


def test_a_disk_that_fills_up_meanwhile(tmp_path: Path, hub: Hub) -> None:
    """In a process whose files may not grow beyond two megabytes."""
    resource = pytest.importorskip("resource")
    assert resource
    code = (
        "import resource, signal, errno\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000))\n"
        "errno.ENOSPC = errno.EFBIG\n" + ENSURE
    )
    done = run_python(code, str(tmp_path), hub.endpoint)
    assert "the disk is full after 2 MB" in done.stdout
    assert kept(tmp_path) == [2_000_000]


def test_a_folder_that_cannot_be_written(hub: Hub, fetch: Callable[..., Path], tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    with pytest.raises(DownloadFailed, match="could not be downloaded"):
        fetch(folder=blocked / "layer_model")


def test_offline_mode_asks_nobody(
    hub: Hub, fetch: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(DownloadFailed, match="offline mode is on"):
        fetch()
    assert hub.requests == []


def test_the_endpoint_of_the_environment(hub: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
    assert WeightStore(tmp_path).ensure(FILE).read_bytes() == CONTENT


def test_a_token_goes_to_the_hub_and_to_no_mirror(
    hub: Hub, fetch: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    fetch()
    assert hub.tokens == {None}
    monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
    WeightStore(tmp_path / "second").ensure(FILE)
    assert hub.tokens == {None, "Bearer hf_secret"}


def test_two_programs_at_once_download_once(hub: Hub, tmp_path: Path) -> None:
    hub.piece, hub.pause = 500_000, 0.1
    results: list[bytes] = []

    def ensure() -> None:
        results.append(WeightStore(tmp_path, Source(hub.endpoint)).ensure(FILE).read_bytes())

    threads = [threading.Thread(target=ensure) for _ in range(2)]
    threads.append(threading.Thread(target=lambda: run_python(ENSURE, str(tmp_path), hub.endpoint)))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [CONTENT, CONTENT]
    assert len(hub.downloads) == 1


def test_a_program_that_was_killed_leaves_what_it_got(hub: Hub, tmp_path: Path) -> None:
    hub.piece, hub.pause = 200_000, 0.1
    process = subprocess.Popen(
        [sys.executable, "-c", ENSURE, str(tmp_path), hub.endpoint],
        cwd=ROOT,
        env=environment(),
        stderr=subprocess.DEVNULL,
    )
    while not any(size > 500_000 for size in kept(tmp_path)):
        time.sleep(0.05)
    process.kill()
    process.wait()
    (size,) = kept(tmp_path)
    hub.pause = 0
    assert WeightStore(tmp_path, Source(hub.endpoint)).ensure(FILE).read_bytes() == CONTENT
    assert hub.downloads[-1].endswith(f"bytes={size}-")


def test_a_hash_that_was_published_only_warns(
    hub: Hub, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    published = WeightFile(FILE.name, FILE.holds, (len(CONTENT),), "0" * 64)
    assert WeightStore(tmp_path, Source(hub.endpoint)).ensure(published).read_bytes() == CONTENT
    assert "is not the released file of that name" in caplog.text
    assert hashlib.sha256(CONTENT).hexdigest()[:12] in caplog.text


def environment() -> dict[str, str]:
    return {**os.environ, "HF_HUB_OFFLINE": "0", "NO_PROXY": "127.0.0.1,localhost"}


def run_python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
