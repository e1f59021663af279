"""`python -m lib_layerdiffusion`: what it prints, and exit statuses that a script can rely on."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lib_layerdiffusion import command
from lib_layerdiffusion.command import GOOD, INTERRUPTED, MISSING, USAGE, WRONG
from lib_layerdiffusion.files import download
from lib_layerdiffusion.methods import ANIMA, FOLDER, METHODS, RELEASED_FILES, SDXL
from lib_layerdiffusion.weight_files import ANIMA_RGBA, LAYERDIFFUSION
from tests.helpers.hub_server import Hub, serve

ROOT = Path(__file__).resolve().parents[1]
ENCODER = SDXL.encoder.filename
ANIMA_FILES = next(method for method in METHODS if method.family is ANIMA).files
PLACES = {"anima_rgba_vae": "vae", "anima_rgba_lora": "loras"}
"""Where they lie in their repository."""


@pytest.fixture
def folder(own_files: Path) -> Path:
    return own_files / FOLDER


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(download, "WAITS", ())
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    with serve() as hub:
        yield hub


def test_list_when_all_are_there(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["list", "--folder", str(folder)]) == GOOD
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 15
    assert all(line.startswith("ok ") for line in lines[:14])
    assert [name for file in RELEASED_FILES for name in [file.filename] if name not in "".join(lines)] == []
    assert lines[-1] == f"in {folder}"


def test_list_names_what_is_missing_and_what_is_wrong(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / ENCODER).unlink()
    assert command.main(["list", "--folder", str(folder)]) == MISSING
    assert f"--       2.4 MB  {ENCODER}  missing" in capsys.readouterr().out
    (folder / SDXL.decoder.filename).write_bytes(b"no weights")
    assert command.main(["list", "--folder", str(folder)]) == WRONG
    assert (
        f"{SDXL.decoder.filename}  {SDXL.decoder.filename} in {folder} cannot be read"
        in capsys.readouterr().out
    )
    assert command.main(["list", "layer_xl_fg2ble", "--folder", str(folder)]) == GOOD


@pytest.mark.parametrize(
    ("names", "count"),
    [
        ([], 14),
        (["all"], 14),
        (["sdxl"], 8),
        (["SD1.5"], 6),
        (["sdxl", "sd15"], 14),
        (["anima"], 2),
        ([METHODS[4].label], 3),
        ([METHODS[6].aliases[0]], 1),
        (["vae_transparent_decoder", "vae_transparent_decoder.safetensors"], 1),
    ],
)
def test_names(names: list[str], count: int) -> None:
    assert len(command.select(names)) == count


@pytest.mark.parametrize("name", ["glass", "../../secret", "/etc/passwd", ""])
def test_other_names_are_refused(folder: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    assert command.main(["fetch", name, "--folder", str(folder)]) == USAGE
    assert f'There is no "{name}". Name a method' in capsys.readouterr().err


def test_usage_errors_have_the_usual_status(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as caught:
        command.main(["delete"])
    assert caught.value.code == USAGE


def test_fetch_gets_what_is_missing(folder: Path, hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    hub.files[ENCODER] = (folder / ENCODER).read_bytes()
    (folder / ENCODER).unlink()
    arguments = ["--folder", str(folder), "--endpoint", hub.endpoint]
    assert command.main(["fetch", "sdxl", *arguments]) == GOOD
    assert (folder / ENCODER).read_bytes() == hub.files[ENCODER]
    assert capsys.readouterr().out.count("ok  ") == 8
    (folder / SDXL.decoder.filename).unlink()
    assert command.main(["fetch", "sdxl", *arguments]) == MISSING
    assert "the hub does not have it" in capsys.readouterr().out


def test_fetch_gets_the_files_of_another_repository(
    folder: Path, hub: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    for file in ANIMA_FILES:
        hub.files[f"{PLACES[file.name]}/{file.filename}"] = (folder / file.filename).read_bytes()
        (folder / file.filename).unlink()
    assert command.main(["fetch", "anima", "--folder", str(folder), "--endpoint", hub.endpoint]) == GOOD
    for file in ANIMA_FILES:
        # not in the folder that it has there
        assert (folder / file.filename).read_bytes() == hub.files[f"{PLACES[file.name]}/{file.filename}"]
        place = f"/{ANIMA_RGBA.name}/resolve/main/{PLACES[file.name]}/{file.filename}"
        assert any(place in request for request in hub.requests)
    assert capsys.readouterr().out.count("ok  ") == 2


def test_verify_reads_every_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["verify", "--folder", str(folder)]) == GOOD
    (folder / ENCODER).write_bytes((folder / ENCODER).read_bytes()[:-1])
    assert command.main(["verify", "--folder", str(folder)]) == WRONG
    (folder / ENCODER).unlink()
    assert command.main(["verify", ENCODER, "--folder", str(folder)]) == MISSING
    assert f"{ENCODER} is missing in {folder}" in capsys.readouterr().out


def test_where_tells_an_offline_machine_what_to_put_where(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["where", "--folder", str(folder)]) == GOOD
    (folder / ENCODER).unlink()
    (folder / "layer_xl_fg2ble.safetensors").unlink()
    capsys.readouterr()
    assert command.main(["where", "--folder", str(folder)]) == MISSING
    lines = capsys.readouterr().out.splitlines()
    start = f"https://huggingface.co/{LAYERDIFFUSION.name}/resolve/{LAYERDIFFUSION.revision}/"
    assert lines[:2] == [f"{start}layer_xl_fg2ble.safetensors", f"{start}{ENCODER}"]
    assert "these 2 files (704 MB)" in lines[2]
    assert lines[3] == str(folder)


def test_the_folder_of_the_webui_it_lies_in(folder: Path, tmp_path: Path) -> None:
    webui = tmp_path / "sd webui ü"
    extension = webui / "extensions" / "layerdiffuse"
    shutil.copytree(ROOT / "lib_layerdiffusion", extension / "lib_layerdiffusion")
    done = subprocess.run(
        [sys.executable, "-m", "lib_layerdiffusion", "list"],
        cwd=extension,
        capture_output=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        check=False,
    )
    assert done.returncode == MISSING
    assert done.stdout.splitlines()[-1] == f"in {webui / 'models' / 'layer_model'}"


def test_elsewhere_the_folder_must_be_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["list"]) == USAGE
    assert "--folder .../models/layer_model" in capsys.readouterr().err


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signal for one process")
def test_ctrl_c_keeps_what_came(folder: Path, hub: Hub) -> None:
    hub.files[ENCODER] = (folder / ENCODER).read_bytes()
    (folder / ENCODER).unlink()
    hub.piece, hub.pause = 20_000, 0.1
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "lib_layerdiffusion",
            "fetch",
            ENCODER,
            "--folder",
            str(folder),
            "--endpoint",
            hub.endpoint,
        ],
        cwd=ROOT,
        env={**os.environ, "HF_HUB_OFFLINE": "0"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        # tests that run in the background ignore it, and what they start would too
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    parts = folder / ".layerdiffuse"
    while not any(part.stat().st_size > 65536 for part in parts.glob("*.part")):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=20)
    assert process.returncode == INTERRUPTED
    assert "the same command goes on from there" in out
    assert [part.stat().st_size > 65536 for part in parts.glob("*.part")] == [True]
