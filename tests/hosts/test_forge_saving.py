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
from lib_layerdiffusion.request.options import Options
from tests.helpers.jobs import picture

INFOTEXT = "a cup\nSteps: 2, layerdiffusion_enabled: True, layerdiffusion_weight: 1.0"


class FakeForge:
    def __init__(self) -> None:
        self.samples_format = "png"
        self.options = Options()
        self.images = ModuleType("modules.images")
        self.images.save_image_with_geninfo = self.write  # type: ignore[attr-defined]
        self.stealth = ModuleType("modules.stealth_infotext")
        self.api = ModuleType("modules.api.api")
        self.stealth.add_stealth_pnginfo = self.add_stealth_pnginfo  # type: ignore[attr-defined]
        self.api.encode_pil_to_base64 = self.encode_pil_to_base64  # type: ignore[attr-defined]

    def modules(self) -> dict[str, ModuleType]:
        modules = ModuleType("modules")
        modules.stealth_infotext = self.stealth  # type: ignore[attr-defined]
        modules.images = self.images  # type: ignore[attr-defined]
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
        forge_saving.before_image_saved(params, self.options)
        path = Path(params.filename)
        temporary = path.with_suffix(".tmp")
        self.images.save_image_with_geninfo(
            params.image, info, str(temporary), path.suffix, existing_pnginfo=params.pnginfo
        )
        return temporary.replace(path)

    @staticmethod
    def write(
        image: Image.Image,
        geninfo: str | None,
        filename: str,
        extension: str,
        existing_pnginfo: dict[str, str] | None = None,
    ) -> None:
        if extension == ".png":
            metadata = PngImagePlugin.PngInfo()
            for key, value in (existing_pnginfo or {}).items():
                metadata.add_text(key, value)
            image.save(filename, format="PNG", pnginfo=metadata)
        else:
            image.convert("RGB").save(filename, format=Image.registered_extensions()[extension])

    def answer(self, image: Image.Image) -> Image.Image:
        encoded = self.api.encode_pil_to_base64(image)
        return Image.open(io.BytesIO(base64.b64decode(encoded)))


@pytest.fixture
def forge(monkeypatch: pytest.MonkeyPatch) -> FakeForge:
    fake = FakeForge()
    for name, module in fake.modules().items():
        monkeypatch.setitem(sys.modules, name, module)
    forge_saving.install(lambda: fake.options.keep_every)
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


@pytest.mark.parametrize("samples_format", ["png", "jpg", "webp"])
def test_lossless_webp_keeps_every_pixel_and_the_infotext(
    forge: FakeForge, tmp_path: Path, samples_format: str
) -> None:
    forge.samples_format, forge.options = samples_format, Options(saved_suffix=".webp")
    path = forge.save_image(ours(), tmp_path, INFOTEXT + ", layerdiffusion_fg_additional_prompt: é漢")
    assert path.suffix == ".webp"
    with Image.open(path) as saved:
        np.testing.assert_array_equal(np.asarray(saved), picture())
        comment = saved.getexif().get_ifd(0x8769)[0x9286]
        # hosts take it for text only where its type is "undefined"
        assert b"\x86\x92\x07\x00" in saved.info["exif"]
    assert comment[:8] == b"UNICODE\0"
    assert comment[8:].decode("utf-16-be").endswith("layerdiffusion_fg_additional_prompt: é漢")
    ordinary = forge.save_image(Image.fromarray(picture()).convert("RGB"), tmp_path, INFOTEXT)
    assert ordinary.suffix == f".{samples_format}"


def test_a_picture_too_large_for_webp_is_a_png(forge: FakeForge, tmp_path: Path) -> None:
    forge.options = Options(saved_suffix=".webp")
    wide = ours().resize((16384, 1))
    forge_saving.mark(wide)
    assert forge.save_image(wide, tmp_path, INFOTEXT).suffix == ".png"


@pytest.mark.parametrize("absolute", [False, True])
def test_transparent_pictures_have_a_folder_of_their_own(
    forge: FakeForge, tmp_path: Path, absolute: bool
) -> None:
    folder = tmp_path / "elsewhere" / "cut out"
    forge.options = Options(saved_folder=folder if absolute else Path("cut out"))
    saved = [forge.save_image(ours(), tmp_path, INFOTEXT) for _ in range(3)]
    # the host's numbers start again at 0 as long as its own folder stays empty
    assert [path.name for path in saved] == ["00000-7.png", "00000-7-1.png", "00000-7-2.png"]
    assert {path.parent for path in saved} == {folder if absolute else tmp_path / "cut out"}
    ordinary = forge.save_image(Image.fromarray(picture()).convert("RGB"), tmp_path, INFOTEXT)
    assert ordinary.parent == tmp_path
