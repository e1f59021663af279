"""The commands that the documents give, as they stand there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from PIL import Image

from lib_layerdiffusion import command
from lib_layerdiffusion.commands import stack
from tests.helpers.jobs import picture

ROOT = Path(__file__).resolve().parents[1]


def lines(document: str, beginning: str) -> list[list[str]]:
    """The command lines in a document's code blocks that begin so, as their words after the beginning."""
    blocks = re.findall(r"^```\n(.*?)^```", (ROOT / document).read_text("utf-8"), re.S | re.M)
    found = [line for block in blocks for line in block.splitlines() if line.startswith(beginning)]
    return [shlex.split(line.removeprefix(beginning), comments=True) for line in found]


WEIGHT_COMMANDS = lines("docs/weight-files.md", "python -m lib_layerdiffusion ")


@pytest.mark.parametrize("words", WEIGHT_COMMANDS, ids=[" ".join(words) for words in WEIGHT_COMMANDS])
def test_commands_for_weight_files(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In an empty folder, on a machine that is offline: each names every file that is meant, as missing."""
    monkeypatch.setattr(pytest.importorskip("huggingface_hub.constants"), "HF_HUB_OFFLINE", True)
    assert command.main([*words, "--folder", str(tmp_path)]) == command.MISSING
    shown = capsys.readouterr().out
    assert [file.name for file in command.select(words[1:]) if file.filename not in shown] == []
    assert ("layer_sd15_joint" in shown) == ("sdxl" not in words)


def test_the_command_for_the_files_of_anima(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(pytest.importorskip("huggingface_hub.constants"), "HF_HUB_OFFLINE", True)
    (words,) = lines("docs/anima.md", "python -m lib_layerdiffusion ")
    assert command.main([*words, "--folder", str(tmp_path)]) == command.MISSING
    shown = capsys.readouterr().out
    assert "anima_rgba_vae" in shown
    assert "anima_rgba_lora" in shown


def test_every_command_for_weight_files_is_documented() -> None:
    assert {words[0] for words in WEIGHT_COMMANDS} == {"list", "fetch", "verify", "where"}


def test_commands_for_layered_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("meadow", "apple", "star"):
        Image.fromarray(picture()).save(f"{name}.png")
    Image.new("RGBA", (9, 9), "red").save("sprite.png")
    for words in lines("docs/layers.md", "python -m lib_layerdiffusion stack "):
        assert stack.main(words) == 0
        assert (tmp_path / words[0]).stat().st_size > 100


def test_check_of_a_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (words,) = lines("docs/troubleshooting.md", "python -c ")
    Image.fromarray(picture()).save(tmp_path / "00000-7.png")
    monkeypatch.chdir(tmp_path)
    space: dict[str, Image.Image] = {}
    exec(words[0], space)
    space["i"].close()
    assert capsys.readouterr().out == "RGBA (0, 255)\n"
