"""`finish`: files in, the same files finished out, and sentences where that cannot be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin

from lib_layerdiffusion.commands import finish
from lib_layerdiffusion.commands.finish import GOOD, SOME_WRONG, WRONG
from lib_layerdiffusion.pictures import finishing
from lib_layerdiffusion.pictures.additions import Outline, Shadow
from lib_layerdiffusion.pictures.finishing import Steps
from lib_layerdiffusion.pictures.geometry import Canvas
from tests.helpers.drawn import coloured, disc

INFOTEXT = 'a glass, 前景\nSteps: 2, Seed: 1, layerdiffusion_enabled: True, note: "x: y"'
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
PICTURE = coloured(np.maximum(disc(96, 20.5, 40, 50), 2))


def saved(path: Path, rgba: np.ndarray = PICTURE) -> Path:
    texts = PngImagePlugin.PngInfo()
    texts.add_itxt("parameters", INFOTEXT)
    Image.fromarray(rgba).save(path, pnginfo=texts, icc_profile=PROFILE)
    return path


def opened(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.array(picture)


def run(*arguments: object) -> int:
    return finish.main([str(one) for one in arguments])


def test_every_option_does_its_step(tmp_path: Path) -> None:
    given = saved(tmp_path / "sprite.png")
    options = (
        "--decontaminate 1 --clean-veil 3 --alpha-black 4 --alpha-white 250 --remove-specks 0.01 "
        "--fill-holes 0.03 --choke 0.5 --feather 1.2 --bleed --trim 4 --canvas 100x120 --anchor bottom-left "
        "--outline 3,#ffffff --shadow=-2,3,4,#00000080 --premultiply"
    )
    assert run(given, "--out", tmp_path / "out", *options.split()) == GOOD
    steps = Steps(
        veil=3,
        black=4,
        white=250,
        specks=0.01,
        holes=0.03,
        choke=0.5,
        feather=1.2,
        decontaminate=1,
        bleed=True,
        trim=4,
        canvas=Canvas(100, 120),
        anchor="bottom left",
        outline=Outline(3, (255, 255, 255, 255)),
        shadow=Shadow(-2, 3, 4, (0, 0, 0, 128)),
        premultiply=True,
    )
    assert np.array_equal(opened(tmp_path / "out" / "sprite.png"), finishing.finish(PICTURE, steps))


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif"])
def test_without_options_pixels_name_and_what_is_written_in_a_file_stay(tmp_path: Path, suffix: str) -> None:
    given = tmp_path / f"sprite{suffix}"
    if suffix == ".png":
        saved(given)
    elif suffix == ".webp":
        Image.fromarray(PICTURE).save(given, lossless=True, exact=True, icc_profile=PROFILE)
    else:
        Image.fromarray(PICTURE).save(given, icc_profile=PROFILE)
    assert run(given, "--out", tmp_path / "out") == GOOD
    result = Image.open(tmp_path / "out" / given.name)
    assert np.array_equal(np.array(result), PICTURE)
    assert result.info["icc_profile"] == PROFILE
    if suffix == ".png":
        assert result.info["parameters"] == INFOTEXT


def test_frames_that_share_a_box_do_not_jump(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frames = tmp_path / "frames"
    frames.mkdir()
    for number in range(5):
        saved(frames / f"{number}.png", coloured(disc(96, 8, 20 + 10 * number, 40)))
    assert run(frames, "--out", tmp_path / "out", "--trim", 1, "--one-box") == GOOD
    sizes = {opened(path).shape for path in (tmp_path / "out").iterdir()}
    assert sizes == {(19, 59, 4)}
    assert "5/5" in capsys.readouterr().err


def test_a_shadow_can_be_written_as_a_layer_of_its_own(tmp_path: Path) -> None:
    given = saved(tmp_path / "sprite.png")
    shadow = "--shadow=9,9,4,#000000"
    assert run(given, "--out", tmp_path, "--force", "--clean-veil", 3, shadow, "--shadow-apart") == GOOD
    layer, picture = opened(tmp_path / "sprite-shadow.png"), opened(tmp_path / "sprite.png")
    assert layer.shape == picture.shape
    assert layer[62, 52, 3] > 200
    assert picture[50, 40].tolist() == PICTURE[50, 40].tolist()


def test_a_source_is_written_over_only_when_that_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = saved(tmp_path / "sprite.png")
    before = given.read_bytes()
    assert run(given, "--out", tmp_path, "--trim", 0) == WRONG
    assert "is the picture itself; give another folder, or --force" in capsys.readouterr().err
    assert given.read_bytes() == before
    assert run(given, "--out", tmp_path, "--trim", 0, "--clean-veil", 3, "--force") == GOOD
    assert opened(given).shape == (41, 41, 4)
    assert [path.name for path in tmp_path.iterdir()] == ["sprite.png"]


def sixteen_bit() -> bytes:
    import cv2

    return bytes(cv2.imencode(".png", PICTURE[..., [2, 1, 0, 3]].astype(np.uint16) * 257)[1])


def test_palettes_grey_and_16_bits_are_right(tmp_path: Path) -> None:
    palette = Image.new("P", (9, 7), 1)
    palette.putpalette([10, 20, 30, 40, 50, 60])
    palette.putpixel((2, 3), 0)
    palette.save(tmp_path / "palette.png", transparency=0)
    Image.new("LA", (5, 5), (90, 128)).save(tmp_path / "grey.png")
    (tmp_path / "deep.png").write_bytes(sixteen_bit())
    Image.new("RGBA", (1, 1), (1, 2, 3, 4)).save(tmp_path / "one.png")
    Image.new("RGBA", (20_000, 2), (1, 2, 3, 4)).save(tmp_path / "wide.png")
    Image.new("RGBA", (6, 4), (9, 9, 9, 0)).save(tmp_path / "clear.png")
    names = ("palette", "grey", "deep", "one", "wide", "clear")
    assert run(*(tmp_path / f"{n}.png" for n in names), "--out", tmp_path / "out", "--trim", 0) == GOOD
    out = {name: opened(tmp_path / "out" / f"{name}.png") for name in names}
    assert out["palette"][3, 2].tolist()[3] == 0
    assert out["palette"][0, 0].tolist() == [40, 50, 60, 255]
    assert out["grey"][0, 0].tolist() == [90, 90, 90, 128]
    assert np.array_equal(out["deep"], PICTURE)
    assert out["one"].tolist() == [[[1, 2, 3, 4]]]
    assert out["wide"].shape == (2, 20_000, 4)
    assert out["clear"].shape == (4, 6, 4)


def test_what_cannot_be_finished_is_said_and_the_others_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = saved(tmp_path / "good.png")
    Image.new("RGB", (4, 4)).save(tmp_path / "opaque.png")
    (tmp_path / "empty.png").write_bytes(b"")
    files = [tmp_path / "opaque.png", tmp_path / "empty.png", good]
    assert run(*files, "--out", tmp_path / "out") == SOME_WRONG
    told = capsys.readouterr().err.splitlines()
    assert [line.partition(".png ")[2] for line in told] == [
        "has no transparency (its mode is RGB); give a transparent picture.",
        "is no picture file that can be read; give PNG, WebP or TIFF.",
    ]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["good.png"]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--choke", "99"], 'Choke (choke) of LayerDiffuse is "99"; it must be a number from -20 to 20.'),
        (["--trim", "x"], 'is "x"; it must be a whole number from 0 to 1000.'),
        (["--canvas", "0x5"], 'Canvas is "0x5"; it must be WIDTHxHEIGHT in pixels, such as 512x512'),
        (["--anchor", "upwards"], 'Anchor is "upwards"; it must be one of center, top, bottom'),
        (["--outline", "6"], 'Outline is "6"; it must be PIXELS,#RRGGBB'),
        (["--shadow", "1,2,3"], 'Shadow is "1,2,3"; it must be RIGHT,DOWN,BLUR,#RRGGBBAA'),
        (["--alpha-black", "9", "--alpha-white", "9"], "black must be below white"),
    ],
)
def test_a_wrong_option_gets_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], sentence: str
) -> None:
    given = saved(tmp_path / "sprite.png")
    assert run(given, "--out", tmp_path / "out", *options) == WRONG
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_canvas_that_is_too_small_is_said_with_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = saved(tmp_path / "sprite.png")
    assert run(given, "--out", tmp_path / "out", "--canvas", "10x10") == SOME_WRONG
    assert "sprite.png: The picture has 96x96 pixels and does not fit" in capsys.readouterr().err
    assert list((tmp_path / "out").iterdir()) == []
