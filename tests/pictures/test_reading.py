"""Picture files from outside: which are opened, how deep they are, and how much of them is held."""

from __future__ import annotations

import base64
import io
import math
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.report import peak_memory
from lib_layerdiffusion.errors import BadPicture
from lib_layerdiffusion.pictures import reading
from lib_layerdiffusion.pictures.reading import FORMATS, LARGEST, given_init_picture, given_picture
from tests.helpers.jobs import picture


def text_of(image: Image.Image, kind: str = "PNG", **options: object) -> str:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return base64.b64encode(buffer.getvalue()).decode()


def read(value: object) -> np.ndarray:
    result = given_picture(value, "foreground")
    assert result is not None
    return result


@pytest.fixture
def ghostscript(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A `gs` in PATH that leaves a file when it is run."""
    started = tmp_path / "started"
    program = tmp_path / "gs"
    program.write_text(f"#!/bin/sh\ntouch {started}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    return started


@pytest.mark.skipif(os.name == "nt", reason="the stand-in is a shell script")
def test_no_program_is_started_for_a_picture(ghostscript: Path) -> None:
    eps = text_of(Image.fromarray(picture()).convert("RGB"), "EPS")
    opened = Image.open(io.BytesIO(base64.b64decode(eps)))
    for value in (eps, f"data:image/png;base64,{eps}", opened):
        with pytest.raises(BadPicture, match="foreground picture is not a picture file"):
            given_picture(value, "foreground")
        with pytest.raises(BadPicture, match="init picture is not a picture file"):
            given_init_picture(value)
    assert not ghostscript.exists()
    # what Pillow does by itself
    with pytest.raises(OSError, match=r".*"):
        opened.load()
    assert ghostscript.exists()


@pytest.mark.parametrize("kind", ["ICO", "PCX", "SGI", "EPS", "PDF", "DDS"])
def test_other_formats_are_one_sentence(kind: str) -> None:
    assert kind not in FORMATS
    text = text_of(Image.fromarray(picture()[..., :3]), kind)
    with pytest.raises(BadPicture, match=r"give a PNG, JPEG, WebP, GIF, BMP or TIFF file\.$"):
        given_picture(text, "foreground")


def test_a_photo_of_several_frames_is_read() -> None:
    """As many phones make them: a JPEG that Pillow calls MPO."""
    photo = Image.fromarray(picture()[..., :3])
    text = text_of(photo, "MPO", save_all=True, append_images=[photo])
    assert Image.open(io.BytesIO(base64.b64decode(text))).format == "MPO"
    assert read(text).shape == (100, 120, 4)


@pytest.mark.parametrize("brightest", [200, 255, 256, 65535])
def test_sixteen_bits_are_told_by_the_mode(brightest: int) -> None:
    values = np.linspace(0, brightest, 256).round().astype(np.uint16).reshape(16, 16)
    expected = (values / 257).round()
    deep = Image.fromarray(values)
    assert deep.mode == "I;16"
    for value in (deep, deep.convert("I"), text_of(deep), text_of(deep, "TIFF"), values):
        np.testing.assert_array_equal(read(value)[..., 0], expected)
    assert (read(deep)[..., 3] == 255).all()


def test_a_transparent_value_of_a_deep_picture_is_kept() -> None:
    values = np.full((8, 8), 40_000, np.uint16)
    values[2:5] = 7
    deep = Image.fromarray(values)
    try:
        text = text_of(deep, transparency=7)
    # Pillow before 12 writes it of the other mode, Pillow 13 does not
    except OSError:
        text = text_of(deep.convert("I"), transparency=7)
    read_back = read(text)
    np.testing.assert_array_equal(read_back[..., 3] == 0, values == 7)


def test_floats_of_pillow_are_from_0_to_255() -> None:
    values = np.array([[0, 0.4, 1, 254.6, 300, -5, np.nan, 127]], np.float32)
    assert read(Image.fromarray(values))[0, :, 0].tolist() == [0, 0, 1, 255, 255, 0, 0, 127]


def test_a_small_file_of_many_pixels_takes_little_memory() -> None:
    text = text_of(Image.new("1", (6000, 6000)), compress_level=1)
    assert len(text) < 50_000
    read(text_of(Image.new("1", (8, 8))))
    with peak_memory() as peak:
        result = read(text)
    assert result.shape == (3000, 3000, 4)
    # as RGBA the file alone would take 144, and again that much to be reduced
    assert peak.megabytes is not None
    assert peak.megabytes < 250


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "I;16"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_a_large_picture_is_reduced_to_what_is_needed(
    mode: str, orientation: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(given_picture, "__defaults__", (2000,))
    monkeypatch.setattr(reading, "_STRIP", 7)
    image = Image.fromarray(picture(width=60, height=46)).convert("RGB")
    if mode != "RGB":
        image = image.convert("L" if mode == "I;16" else mode)
    expected = image.convert("RGBA").reduce(2)
    if orientation == 6:
        expected = expected.transpose(Image.Transpose.ROTATE_270)
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image).astype(np.uint16) * 257)
    exif = Image.Exif()
    exif[reading.ORIENTATION] = orientation
    for value in (text_of(image, exif=exif), text_of(image, "TIFF", exif=exif)):
        result = read(value)
        assert result.shape[1::-1] == expected.size
        assert np.abs(result.astype(int) - np.asarray(expected)).max() <= 1


def test_a_picture_that_is_large_enough_is_left_as_it_is() -> None:
    image = Image.effect_noise((4096, 64), 80).convert("RGBA")
    np.testing.assert_array_equal(read(text_of(image)), np.asarray(image))


@pytest.mark.parametrize("side", [int(math.sqrt(LARGEST)) + 1, 10_000, 14_000])
def test_too_many_pixels_are_refused_before_they_are_decoded(side: int) -> None:
    """All that there is of the file is what says its size."""
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    end = struct.pack(">I", zlib.crc32(b"IHDR" + header)) + bytes(4) + b"IDAT"
    content = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", len(header)) + b"IHDR" + header + end
    with pytest.raises(BadPicture, match=r"too large \(.*\); make it smaller than 64 megapixels\."):
        given_picture(base64.b64encode(content).decode(), "foreground")


def test_an_init_picture_keeps_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(given_picture, "__defaults__", (100,))
    for value in (Image.fromarray(picture()), picture(), text_of(Image.fromarray(picture()))):
        np.testing.assert_array_equal(np.asarray(given_init_picture(value)), picture())
