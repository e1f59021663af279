"""`atlas`: what is packed comes back byte for byte, in the form that engines read."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lib_layerdiffusion.commands import atlas
from lib_layerdiffusion.commands.atlas import GOOD, WRONG
from lib_layerdiffusion.pictures.atlas import read_atlas
from lib_layerdiffusion.pictures.packing import pack
from miniature.measure.quality import held_out
from tests.helpers.drawn import coloured, disc


@settings(max_examples=150)
@given(
    st.lists(st.tuples(st.integers(1, 60), st.integers(1, 60)), min_size=1, max_size=25), st.integers(40, 400)
)
def test_packed_rectangles_never_overlap_nor_leave_the_page(
    sizes: list[tuple[int, int]], largest: int
) -> None:
    packed = pack(sizes, largest)
    if packed is None:
        return
    places, (width, height) = packed
    assert max(width, height) <= largest
    taken = np.zeros((height, width), int)
    for (x, y), (w, h) in zip(places, sizes, strict=True):
        assert x + w <= width
        assert y + h <= height
        taken[y : y + h, x : x + w] += 1
    assert taken.max() == 1


def test_the_page_is_well_filled() -> None:
    sizes = [(w, h) for w, h in itertools.product(range(20, 90, 10), range(30, 100, 10))]
    packed = pack(sizes, 4096)
    assert packed is not None
    width, height = packed[1]
    assert sum(w * h for w, h in sizes) / (width * height) > 0.85


@pytest.fixture
def sprites(tmp_path: Path) -> Path:
    """Emoji whose invisible pixels are black, as most programs leave them."""
    folder = tmp_path / "sprites"
    folder.mkdir()
    for name, picture in list(held_out().items())[:9]:
        cleared = picture.copy()
        cleared[cleared[..., 3] == 0] = 0
        Image.fromarray(cleared).save(folder / f"{name}.png")
    Image.new("RGBA", (5, 9)).save(folder / "nothing.png")
    return folder


def run(*arguments: object) -> int:
    return atlas.main([str(one) for one in arguments])


def test_an_atlas_gives_every_picture_back_byte_for_byte(tmp_path: Path, sprites: Path) -> None:
    out = tmp_path / "all.png"
    assert run(out, sprites) == GOOD
    sheet, description = np.array(Image.open(out)), json.loads(out.with_suffix(".json").read_text())
    originals = {path.name: np.array(Image.open(path)) for path in sorted(sprites.iterdir())}
    back = read_atlas(sheet, description)
    assert back.keys() == originals.keys()
    for name, original in originals.items():
        assert np.array_equal(back[name], original), name
    meta = description["meta"]
    assert (meta["image"], meta["format"], meta["scale"]) == ("all.png", "RGBA8888", "1")
    assert meta["size"] == {"w": sheet.shape[1], "h": sheet.shape[0]}
    frame = description["frames"]["bird.png"]
    assert set(frame) == {"frame", "rotated", "trimmed", "spriteSourceSize", "sourceSize", "pivot"}
    assert frame["sourceSize"] == {"w": 128, "h": 128}
    assert frame["trimmed"] is True
    assert sheet.size < 0.9 * sum(original.size for original in originals.values())


def test_edges_are_there_again_around_each_sprite(tmp_path: Path) -> None:
    Image.fromarray(coloured(np.full((8, 8), 255, np.uint8))).save(tmp_path / "a.png")
    Image.fromarray(coloured(np.full((8, 8), 255, np.uint8))).save(tmp_path / "b.png")
    out = tmp_path / "out.png"
    assert run(out, tmp_path / "a.png", tmp_path / "b.png", "--extrude", 2, "--padding", 3) == GOOD
    sheet = np.array(Image.open(out))
    frames = json.loads(out.with_suffix(".json").read_text())["frames"]
    first = frames["a.png"]["frame"]
    assert (first["x"], first["y"]) == (2, 2)
    assert np.array_equal(sheet[0, 2:10], sheet[2, 2:10])
    assert np.array_equal(sheet[2:10, 11], sheet[2:10, 9])
    gaps = abs(frames["b.png"]["frame"]["x"] - first["x"]), abs(frames["b.png"]["frame"]["y"] - first["y"])
    assert max(gaps) == 8 + 2 * 2 + 3


def test_frames_have_one_box_and_scales_an_atlas_each(tmp_path: Path) -> None:
    for number in range(3):
        Image.fromarray(coloured(disc(64, 10, 20 + 8 * number, 30))).save(tmp_path / f"{number}.png")
    out = tmp_path / "run.png"
    files = [tmp_path / f"{number}.png" for number in range(3)]
    assert run(out, *files, "--frames", "--scale", "1,0.5") == GOOD
    frames = json.loads(out.with_suffix(".json").read_text())["frames"]
    assert {tuple(one["spriteSourceSize"].values()) for one in frames.values()} == {(10, 20, 37, 21)}
    half = json.loads((tmp_path / "run@0.5x.json").read_text())
    assert half["meta"]["image"] == "run@0.5x.png"
    assert half["meta"]["scale"] == "0.5"
    assert half["frames"]["0.png"]["sourceSize"] == {"w": 32, "h": 32}


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--max", "40"], "do not fit into 40x40 pixels; give a larger --max"),
        (["--scale", "0"], '--scale is "0"; it must be numbers above 0'),
        (["--padding", "-1"], "--padding is -1; it must be from 0 to 256"),
        (["--frames"], "Frames of one animation have one size"),
    ],
)
def test_what_cannot_be_packed_gets_a_sentence(
    tmp_path: Path, sprites: Path, capsys: pytest.CaptureFixture[str], options: list[str], sentence: str
) -> None:
    assert run(tmp_path / "out.png", sprites, *options) == WRONG
    assert sentence in capsys.readouterr().err
    assert not list(tmp_path.glob("out*"))


def test_an_atlas_that_is_there_stays(
    tmp_path: Path, sprites: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out.json").write_text("mine")
    assert run(tmp_path / "out.png", sprites) == WRONG
    assert "is there already" in capsys.readouterr().err
    assert (tmp_path / "out.json").read_text() == "mine"
    assert run(tmp_path / "out.png", sprites, "--force") == GOOD
