"""What is said of a weight file that cannot be read names the cause that it is, and the advice fits it."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import save_file

from lib_layerdiffusion.errors import DownloadFailed, WeightsError, WrongWeights
from lib_layerdiffusion.files import download, tensors
from lib_layerdiffusion.files.records import WORK_FOLDER
from lib_layerdiffusion.files.store import WeightStore
from lib_layerdiffusion.methods import SDXL
from lib_layerdiffusion.models.encoder_and_decoder import TransparencyEncoder
from tests.helpers.permissions import open_folder, ordinary_user

FILE = SDXL.encoder

ordinary_users = pytest.mark.skipif(not hasattr(os, "geteuid"), reason="this system has other permissions")


@pytest.fixture
def folder() -> Iterator[Path]:
    with open_folder() as folder:
        save_file(dict(TransparencyEncoder().state_dict()), str(folder / FILE.filename))
        yield folder


def sentence(store: WeightStore) -> str:
    with pytest.raises(WeightsError) as caught:
        store.ensure(FILE)
    message = str(caught.value)
    assert "\n" not in message
    assert FILE.filename in message
    assert str(store.folder) in message
    return message


@ordinary_users
def test_a_file_that_may_not_be_read(folder: Path) -> None:
    store = WeightStore(folder)
    (folder / FILE.filename).chmod(0)
    with ordinary_user():
        message = sentence(store)
    assert "may not be read" in message
    assert "elete" not in message
    assert "damaged" not in message
    (folder / FILE.filename).chmod(0o644)
    assert store.ensure(FILE) == folder / FILE.filename


@ordinary_users
def test_a_folder_that_may_not_be_entered(folder: Path) -> None:
    folder.chmod(0)
    try:
        with ordinary_user():
            message = sentence(WeightStore(folder))
    finally:
        folder.chmod(0o755)
    assert "may not be read" in message


@ordinary_users
def test_a_folder_that_may_not_be_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / FILE.filename).unlink()
    with ordinary_user(), pytest.raises(DownloadFailed) as caught:
        WeightStore(folder).ensure(FILE)
    message = str(caught.value)
    assert f"the user that the WebUI runs as may not write there ({folder / WORK_FOLDER})" in message
    assert "Try again" not in message


FAILURES = {
    "input/output error": (
        OSError(errno.EIO, "Input/output error"),
        "cannot be read now (Input/output error)",
    ),
    "stale handle": (OSError(errno.ESTALE, "Stale file handle"), "cannot be read now (Stale file handle)"),
    "locked": (PermissionError(errno.EACCES, "Permission denied"), "may not be read"),
    "vanished": (FileNotFoundError(errno.ENOENT, "No such file or directory"), "is no longer there"),
}


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("after", [0, 1, 2, 5])
def test_a_drive_that_fails(folder: Path, monkeypatch: pytest.MonkeyPatch, failure: str, after: int) -> None:
    """At the first file that is opened or at a later one: header, hash, numbers, tensors."""
    error, expected = FAILURES[failure]
    path, opened = folder / FILE.filename, []
    open_path = Path.open

    def failing(self: Path, *args: Any, **kwargs: Any) -> Any:
        if self == path:
            opened.append(1)
            if len(opened) > after:
                raise error
        return open_path(self, *args, **kwargs)

    monkeypatch.setattr(Path, "open", failing)
    with pytest.raises(WeightsError) as caught:
        tensors.network(WeightStore(folder).ensure(FILE), TransparencyEncoder.from_state_dict)
    assert len(opened) == after + 1
    assert not isinstance(caught.value, WrongWeights)
    message = str(caught.value)
    assert message.startswith(f"{FILE.filename} in {folder} {expected}")
    assert "elete" not in message


def test_a_file_that_goes_while_it_is_looked_at(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = WeightStore(folder)
    has = WeightStore.has

    def then_gone(self: WeightStore, file: Any) -> bool:
        found = has(self, file)
        self.path(file).unlink()
        return found

    monkeypatch.setattr(WeightStore, "has", then_gone)
    assert "is no longer there" in sentence(store)


@pytest.mark.parametrize(
    "make",
    [
        lambda good: "[" * 100_000 + "]" * 100_000,
        lambda good: '{"a":' * 100_000 + "1" + "}" * 100_000,
        lambda good: json.dumps({FILE.filename: {**good, "problem": 5}}),
        lambda good: json.dumps({FILE.filename: {**good, "problem": None}}),
        lambda good: json.dumps({FILE.filename: {**good, "sha256": ["x"], "problem": "made up"}}),
        lambda good: json.dumps({FILE.filename: {**good, "size": float(good["size"]), "problem": "made up"}}),
        lambda good: json.dumps({FILE.filename: [1, 2, "", ""]}),
        lambda good: json.dumps({FILE.filename: "abc"}),
        lambda good: "1" * 10_000,
        lambda good: '"\\ud800"',
    ],
)
def test_records_that_hold_anything_are_made_anew(
    folder: Path, make: Callable[[dict[str, Any]], str]
) -> None:
    WeightStore(folder).ensure(FILE)
    path = folder / WORK_FOLDER / "checked.json"
    good = json.loads(path.read_text())
    path.write_text(make(good[FILE.filename]))
    assert WeightStore(folder).ensure(FILE) == folder / FILE.filename
    assert json.loads(path.read_text()) == good


def test_records_of_other_files_are_kept(folder: Path) -> None:
    path = folder / WORK_FOLDER / "checked.json"
    path.parent.mkdir()
    other = {"size": 1, "changed": 2, "sha256": "", "problem": "it is odd"}
    path.write_text(json.dumps({"other": other, "nonsense": {**other, "size": "1"}}))
    WeightStore(folder).ensure(FILE)
    assert json.loads(path.read_text()).keys() == {"other", FILE.filename}
    assert json.loads(path.read_text())["other"] == other


def test_nothing_is_downloaded_over_a_file_that_cannot_be_looked_at(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched: list[object] = []
    monkeypatch.setattr(download, "fetch", lambda *arguments: fetched.append(arguments))

    def stat(self: Path, **kwargs: Any) -> Any:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "stat", stat)
        message = sentence(WeightStore(folder))
    assert "cannot be read now" in message
    assert fetched == []
