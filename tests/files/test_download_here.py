"""A download as this machine has it: progress, Interrupt, the disk, other programs, the environment."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lib_layerdiffusion.errors import DownloadFailed, Interrupted
from lib_layerdiffusion.files import download
from lib_layerdiffusion.files.download import Source
from lib_layerdiffusion.files.store import WeightStore
from tests.helpers.downloads import CONTENT, FILE, Watcher, constants, kept
from tests.helpers.hub_server import Hub

ROOT = Path(__file__).resolve().parents[2]


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
