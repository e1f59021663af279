"""Transparency against everything Forge does with a finished picture.

The stand-ins do what Forge's own functions of the same names do: the stealth writer sets alpha to 255 in
place before the callback, `save_image` picks the format by file name, the API by an option.
"""

from __future__ import annotations

import base64
import io
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from lib_layerdiffusion.hosts import forge_saving
from tests.conftest import picture

INFOTEXT = "a cup\nSteps: 2, layerdiffusion_enabled: True, layerdiffusion_weight: 1.0"


class FakeForge:
    def __init__(self) -> None:
        self.samples_format = "png"
        self.stealth = ModuleType("modules.stealth_infotext")
        self.api = ModuleType("modules.api.api")
        self.stealth.add_stealth_pnginfo = self.add_stealth_pnginfo  # type: ignore[attr-defined]
        self.api.encode_pil_to_base64 = self.encode_pil_to_base64  # type: ignore[attr-defined]

    def modules(self) -> dict[str, ModuleType]:
        modules = ModuleType("modules")
        modules.stealth_infotext = self.stealth  # type: ignore[attr-defined]
        return {
            "modules": modules,
            "modules.stealth_infotext": self.stealth,
            "modules.api": ModuleType("modules.api"),
            "modules.api.api": self.api,
        }

    def add_stealth_pnginfo(self, params: Any) -> None:
        if params.filename.endswith(".png") and "parameters" in params.pnginfo:
            params.image.putalpha(255)

    def encode_pil_to_base64(self, image: Image.Image) -> bytes:
        buffer = io.BytesIO()
        if self.samples_format == "png":
            image.save(buffer, "PNG")
        else:
            image.convert("RGB").save(buffer, "JPEG")
        return base64.b64encode(buffer.getvalue())

    def save_image(self, image: Image.Image, folder: Path, info: str | None = None) -> Path:
        filename = str(folder / f"00000-7.{self.samples_format}")
        params = SimpleNamespace(
            image=image, p=None, filename=filename, pnginfo={} if info is None else {"parameters": info}
        )
        if info is not None:
            self.stealth.add_stealth_pnginfo(params)
        forge_saving.before_image_saved(params)
        path = Path(params.filename)
        if path.suffix == ".png":
            metadata = PngImagePlugin.PngInfo()
            for key, value in params.pnginfo.items():
                metadata.add_text(key, value)
            params.image.save(path, pnginfo=metadata)
        else:
            params.image.convert("RGB").save(path)
        return path

    def answer(self, image: Image.Image) -> Image.Image:
        encoded = self.api.encode_pil_to_base64(image)
        return Image.open(io.BytesIO(base64.b64decode(encoded)))


@pytest.fixture
def forge(monkeypatch: pytest.MonkeyPatch) -> FakeForge:
    fake = FakeForge()
    for name, module in fake.modules().items():
        monkeypatch.setitem(sys.modules, name, module)
    forge_saving.install()
    return fake


def ours() -> Image.Image:
    image = Image.fromarray(picture())
    forge_saving.mark(image)
    return image


def alpha(image: Image.Image) -> list[int]:
    assert image.mode == "RGBA"
    return np.asarray(image)[..., 3].ravel().tolist()


@pytest.mark.parametrize("samples_format", ["png", "jpg", "webp"])
@pytest.mark.parametrize("info", [INFOTEXT, None], ids=["infotext", "no infotext"])
def test_file_gallery_and_answer_keep_every_alpha(
    forge: FakeForge, tmp_path: Path, samples_format: str, info: str | None
) -> None:
    forge.samples_format = samples_format
    image, expected = ours(), alpha(ours())
    path = forge.save_image(image, tmp_path, info)
    assert path.suffix == ".png"
    with Image.open(path) as saved:
        assert alpha(saved) == expected
        assert saved.info.get("parameters") == info
    assert alpha(image) == expected
    image.info["parameters"] = INFOTEXT
    sent = forge.answer(image)
    assert alpha(sent) == expected
    assert sent.info["parameters"] == INFOTEXT


@pytest.mark.parametrize("samples_format", ["png", "jpg"])
def test_save_button_keeps_alpha_of_a_picture_read_back(
    forge: FakeForge, tmp_path: Path, samples_format: str
) -> None:
    first = forge.save_image(ours(), tmp_path, INFOTEXT)
    forge.samples_format = samples_format
    (tmp_path / "saved").mkdir()
    with Image.open(first) as from_gallery:
        from_gallery.load()
        again = forge.save_image(from_gallery, tmp_path / "saved", INFOTEXT)
    with Image.open(again) as saved:
        assert alpha(saved) == alpha(ours())


OPAQUE: list[tuple[str, Callable[[], Image.Image], str | None]] = [
    ("ordinary", lambda: Image.fromarray(picture()).convert("RGB"), "a cup\nSteps: 2"),
    ("other script's alpha", lambda: Image.fromarray(picture()), "a cup\nSteps: 2"),
    ("our preview", lambda: Image.fromarray(picture()).convert("RGB"), INFOTEXT),
]


@pytest.mark.parametrize(("make", "info"), [case[1:] for case in OPAQUE], ids=[case[0] for case in OPAQUE])
def test_other_pictures_are_left_to_the_host(
    forge: FakeForge, tmp_path: Path, make: Callable[[], Image.Image], info: str
) -> None:
    image = make()
    forge.save_image(image, tmp_path, info)
    assert alpha(image) == [255] * (image.width * image.height)
    forge.samples_format = "jpg"
    assert forge.save_image(make(), tmp_path, info).suffix == ".jpg"
    assert forge.answer(make()).format == "JPEG"


def test_reloading_the_page_wraps_nothing_twice(forge: FakeForge) -> None:
    writer, encoder = forge.stealth.add_stealth_pnginfo, forge.api.encode_pil_to_base64
    forge_saving.install()
    assert forge.stealth.add_stealth_pnginfo is writer
    assert forge.api.encode_pil_to_base64 is encoder


@pytest.mark.parametrize(
    ("samples_format", "make", "name"),
    [
        ("png", ours, "00000-7-background.png"),
        ("jpg", ours, "00000-7-background.png"),
        ("jpg", lambda: Image.fromarray(picture()).convert("RGB"), "00000-7-background.jpg"),
    ],
)
def test_file_is_named_by_its_layer(
    forge: FakeForge, tmp_path: Path, samples_format: str, make: Callable[[], Image.Image], name: str
) -> None:
    forge.samples_format = samples_format
    image = make()
    forge_saving.name_layer(image, "background")
    assert forge.save_image(image, tmp_path, INFOTEXT).name == name
