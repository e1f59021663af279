"""`python -m lib_layerdiffusion stack`."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lib_layerdiffusion.commands import stack
from tests.helpers.layer_readers import from_ora

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A background of 40x30, and a sprite of that size with a box of 10x8 at (5, 6)."""
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (40, 30), (10, 20, 30)).save("meadow.png")
    sprite = Image.new("RGBA", (40, 30), (200, 0, 0, 0))
    sprite.paste((200, 0, 0, 255), (5, 6, 15, 14))
    sprite.save("apple.png")
    sprite.crop((5, 6, 15, 14)).save("small.webp", lossless=True)
    return tmp_path


def test_ora_of_two_pictures(folder: Path) -> None:
    assert stack.main(["out.ora", "meadow.png", "apple.png"]) == 0
    found, merged = from_ora((folder / "out.ora").read_bytes())
    boxes = [(layer.name, layer.left, layer.top, layer.width, layer.height) for layer in found.layers()]
    assert boxes == [("meadow", 0, 0, 40, 30), ("apple", 5, 6, 10, 8)]
    assert tuple(merged[7, 6]) == (200, 0, 0, 255)
    assert tuple(merged[0, 0]) == (10, 20, 30, 255)


def test_psd_with_names_and_places(folder: Path) -> None:
    words = ["out.psd", "meadow.png", "small.webp", "--name", "Wiese", "--name", "яблоко"]
    assert stack.main([*words, "--at", "0,0", "--at", "3,25"]) == 0
    with Image.open(folder / "out.psd") as file:
        # what reaches over the edge is kept, and makes the canvas larger only to the right and below
        assert file.size == (40, 33)
        assert [entry[2] for entry in file.layers] == [(0, 0, 40, 30), (3, 25, 13, 33)]
    data = (folder / "out.psd").read_bytes()
    assert b"Wiese" in data
    assert "яблоко".encode("utf-16-be") in data


def test_it_runs_without_torch(folder: Path) -> None:
    code = (
        "import sys; from lib_layerdiffusion.commands.stack import main\n"
        "assert main(['out.psd', 'meadow.png', 'apple.png']) == 0\n"
        "print(*sorted({'torch', 'gradio', 'modules'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(ROOT)},
    )
    assert done.stdout.strip() == ""
    assert (folder / "out.psd").stat().st_size > 100


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["out.tif", "meadow.png"], "out.tif must end in .psd or .ora."),
        (["old.psd", "meadow.png"], "old.psd is there already; give another name, or --force"),
        (["out.psd", "missing.png"], "missing.png cannot be read: No such file or directory."),
        (["out.psd", "."], ". cannot be read: Is a directory."),
        (["out.psd", "text.png"], "text.png is no picture file that can be read"),
        (["out.psd", "cut.png"], "cut.png"),
        (["out.psd", "meadow.png", "small.webp"], "different sizes (10x8, 40x30); say where each one lies"),
        (["out.psd", "meadow.png", "apple.png", "--name", "a"], "There are 2 layers and 1 --name"),
        (["out.psd", "meadow.png", "apple.png", "--at=1,1"], "There are 2 layers and 1 --at"),
        (["out.psd", "meadow.png", "--at=-50,0"], "outside the canvas"),
        (["out.psd", "meadow.png", "--at=30000,0"], "must be from 1 to 30000"),
        (["no/out.psd", "meadow.png"], "cannot be written: No such file or directory."),
    ],
)
def test_one_sentence_and_nothing_written(
    folder: Path, words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "text.png").write_text("no picture")
    (folder / "old.psd").write_bytes(b"old")
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 4), np.uint8)).save(file, "PNG")
    (folder / "cut.png").write_bytes(file.getvalue()[:9000])
    before = sorted(folder.rglob("*"))
    assert stack.main(words) == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert said.count("\n") == 1
    assert sorted(folder.rglob("*")) == before
    assert (folder / "old.psd").read_bytes() == b"old"


def test_force_writes_over_a_file(folder: Path) -> None:
    (folder / "old.psd").write_bytes(b"old")
    assert stack.main(["old.psd", "meadow.png", "--force"]) == 0
    assert (folder / "old.psd").read_bytes()[:4] == b"8BPS"


def test_a_place_that_is_none(folder: Path) -> None:
    with pytest.raises(SystemExit, match="2"):
        stack.main(["out.psd", "meadow.png", "--at", "left"])
