"""`inspect`: a line or an object for each file, and an exit status for scripts."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lib_layerdiffusion.commands import inspect
from lib_layerdiffusion.commands.inspect import ALL_CLEAN, SOME_NOT, UNREADABLE
from tests.helpers.drawn import coloured, disc

ROOT = Path(__file__).resolve().parents[2]
CLEAN = coloured(disc(96, 30))
VEILED = coloured(np.maximum(disc(96, 30), 20))


def saved(path: Path, rgba: np.ndarray = CLEAN, **more: object) -> Path:
    Image.fromarray(rgba).save(path, **more)
    return path


def run(*words: object) -> int:
    return inspect.main([str(word) for word in words])


def test_a_line_for_each_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, veiled = saved(tmp_path / "a.png"), saved(tmp_path / "b.webp", VEILED, lossless=True)
    assert run(good) == ALL_CLEAN
    assert capsys.readouterr().out == f"{good}: clean\n"
    assert run(tmp_path) == SOME_NOT
    first, second = capsys.readouterr().out.splitlines()
    assert first == f"{good}: clean"
    reason = "A veil of alpha 20 lies over the background. Take it off with Clean veil, under Finish."
    assert second == f"{veiled}: weak. {reason}"


def test_the_same_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = saved(tmp_path / "前景.png")
    opaque = saved(tmp_path / "b.jpg", CLEAN[..., :3])
    broken = tmp_path / "c.png"
    broken.write_bytes(good.read_bytes()[:100])
    assert run("--json", good, opaque, broken) == UNREADABLE
    one, two, three = json.loads(capsys.readouterr().out)
    assert (one["file"], one["verdict"], one["reasons"], one["remedies"]) == (str(good), "clean", [], [])
    assert one["border"] == 0
    assert one["subject"] == pytest.approx(np.mean(CLEAN[..., 3] >= 250), abs=1e-4)
    # a file does not tell what only its making could
    assert "greyness" not in one
    assert "passes_apart" not in one
    assert (two["verdict"], two["reasons"]) == ("failed", ["The background is there, not transparent."])
    assert three["verdict"] is None
    assert str(broken) in three["reasons"][0]


def test_what_cannot_be_read_is_said_and_the_others_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = saved(tmp_path / "a.png")
    assert run(tmp_path / "none.png") == UNREADABLE
    assert "There is no" in capsys.readouterr().err
    text = tmp_path / "text.png"
    text.write_text("no picture")
    assert run(text, good) == UNREADABLE
    shown = capsys.readouterr()
    assert shown.out == f"{good}: clean\n"
    assert shown.err.count("\n") == 1
    assert str(text) in shown.err


@pytest.mark.parametrize("kind", ["palette", "grey", "deep", "single", "empty"])
def test_every_kind_of_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str) -> None:
    path = tmp_path / "a.png"
    if kind == "palette":
        Image.fromarray(CLEAN).quantize(64).save(path)
    elif kind == "grey":
        Image.fromarray(CLEAN).convert("LA").save(path)
    elif kind == "deep":
        Image.fromarray(disc(40, 10).astype(np.uint16) * 257).save(path)
    else:
        saved(path, np.full((1, 1, 4), 255 if kind == "single" else 0, np.uint8))
    status = run("--json", path)
    (told,) = json.loads(capsys.readouterr().out)
    assert status == (ALL_CLEAN if told["verdict"] == "clean" else SOME_NOT)
    assert told["verdict"] == ("clean" if kind in ("palette", "grey") else "failed")


def test_it_needs_no_torch(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png")
    code = (
        "import sys; from lib_layerdiffusion.commands import inspect; "
        f"status = inspect.main([{str(path)!r}]); sys.exit(status + 10 * ('torch' in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
