"""Image formats that keep alpha, and change it unless they are told otherwise; and those that cannot be sent.

The stand-ins for the plug-ins of Pillow are lossy as the real ones are, and lossless by the same words.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lib_layerdiffusion.hosts import forge_saving
from lib_layerdiffusion.job import previews
from lib_layerdiffusion.pictures.arithmetic import preview
from miniature.webui.processing import Processed
from tests.helpers.jobs import arguments, picture
from tests.hosts.test_forge_saving import INFOTEXT, FakeForge, alpha, forge, ours

__all__ = ["forge"]

EXACT: dict[str, dict[str, Any]] = {
    "AVIF": {},
    "HEIF": {"quality": -1, "chroma": 444, "matrix_coefficients": 0},
    "JXL": {"lossless": True},
}


def stand_in(kind: str) -> Callable[[Image.Image, Any, Any], None]:
    def save(image: Image.Image, file: Any, filename: Any) -> None:
        told = {key: image.encoderinfo.get(key) for key in EXACT[kind]}
        pixels = np.array(image)
        if not EXACT[kind] or told != EXACT[kind]:
            pixels = pixels // 16 * 16 + 7
        Image.fromarray(pixels).save(file, "PNG", exif=image.encoderinfo.get("exif", b""))

    return save


@pytest.fixture(autouse=True)
def plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    Image.init()
    for kind in EXACT:
        monkeypatch.setitem(Image.SAVE, kind, stand_in(kind))
        monkeypatch.setitem(Image.EXTENSION, f".{kind.lower()}", kind)


@pytest.mark.parametrize(
    ("samples_format", "suffix"), [("avif", ".png"), ("heif", ".heif"), ("jxl", ".jxl"), ("JXL", ".JXL")]
)
def test_every_format_is_exact(
    forge: FakeForge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, samples_format: str, suffix: str
) -> None:
    monkeypatch.setitem(Image.EXTENSION, ".JXL", "JXL")
    forge.samples_format = samples_format
    path = forge.save_image(ours(), tmp_path, INFOTEXT)
    assert path.suffix == suffix
    # PNG in the stand-ins
    with Image.open(io.BytesIO(path.read_bytes())) as saved:
        np.testing.assert_array_equal(np.asarray(saved), picture())
        if suffix != ".png":
            comment = saved.getexif().get_ifd(0x8769)[0x9286]
            assert comment[8:].decode("utf-16-be") == INFOTEXT


@pytest.mark.parametrize("samples_format", ["heif", "jxl"])
def test_ordinary_pictures_are_saved_as_the_host_does(
    forge: FakeForge, tmp_path: Path, samples_format: str
) -> None:
    forge.samples_format = samples_format
    path = forge.save_image(Image.fromarray(picture()).convert("RGB"), tmp_path, INFOTEXT)
    assert path.suffix == f".{samples_format}"
    assert (np.asarray(Image.open(io.BytesIO(path.read_bytes()))) % 16 == 7).all()


@pytest.fixture
def cannot_send(forge: FakeForge) -> FakeForge:
    """As hosts answer where AVIF is set."""

    def encode_pil_to_base64(image: Image.Image) -> bytes:
        raise RuntimeError("Invalid image format")

    forge.api.encode_pil_to_base64 = encode_pil_to_base64  # type: ignore[attr-defined]
    forge_saving.install()
    return forge


def test_a_format_that_cannot_be_sent_ends_nothing(cannot_send: FakeForge) -> None:
    shown = Image.fromarray(preview(picture() / np.float32(255)))
    forge_saving.mark(shown)
    layer = Image.fromarray(picture()).convert("RGB")
    layer.info["parameters"] = INFOTEXT
    for one in (shown, layer):
        sent = cannot_send.answer(one)
        assert sent.format == "PNG"
        np.testing.assert_array_equal(np.asarray(sent), np.asarray(one))
    assert alpha(cannot_send.answer(ours())) == alpha(ours())
    with pytest.raises(RuntimeError, match="Invalid image format"):
        cannot_send.answer(Image.fromarray(picture()).convert("RGB"))


Generate = Callable[..., Processed]


def test_every_picture_of_a_job_is_kept(
    generate: Generate, host: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[int] = []
    monkeypatch.setattr(type(host), "keep", lambda self, picture: kept.append(id(picture)))
    result = generate(arguments(), n_iter=2)
    assert sorted(kept) == sorted(id(one) for one in (*result.images, *result.extra_images))
    assert len(kept) == 4


def test_a_preview_that_cannot_be_made_ends_nothing(
    generate: Generate, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(rgba: Any) -> Any:
        raise MemoryError

    expected = generate(arguments())
    monkeypatch.setattr(previews, "preview", fail)
    result = generate(arguments())
    assert result.images[0].tobytes() == expected.images[0].tobytes()
    assert not result.extra_images
