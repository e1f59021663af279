"""Whatever is handed over as picture or value: it works, or it is refused with one sentence."""

from __future__ import annotations

import base64
import io
import struct
import warnings
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from lib_layerdiffusion.errors import BadPicture, LayerDiffuseError
from lib_layerdiffusion.methods import METHODS
from lib_layerdiffusion.pictures.reading import given_picture
from lib_layerdiffusion.request.settings import ARGUMENTS, Settings
from miniature.webui.processing import Processed
from tests.helpers.jobs import CONDITIONED, arguments, picture

Generate = Callable[..., Processed]

MODES = (
    "1",
    "L",
    "LA",
    "La",
    "P",
    "PA",
    "RGB",
    "RGBA",
    "RGBa",
    "RGBX",
    "CMYK",
    "YCbCr",
    "HSV",
    "LAB",
    "I",
    "F",
    "I;16",
)
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "TGA")


def file_of(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def text_of(content: bytes) -> str:
    return base64.b64encode(content).decode()


def is_sentence(error: LayerDiffuseError) -> bool:
    text = str(error)
    return text.endswith(".") and "\n" not in text and 20 < len(text) < 2000


def check_picture(value: Any) -> np.ndarray | None:
    """Read it; what comes is RGBA, what does not is refused with a sentence."""
    try:
        result = given_picture(value, "foreground")
    except BadPicture as error:
        result, refused = None, error
    if result is None:
        assert is_sentence(refused), refused
        assert "foreground" in str(refused)
        return None
    assert result.dtype == np.uint8
    assert result.ndim == 3
    assert result.shape[2] == 4
    assert 0 not in result.shape
    return result


@given(st.sampled_from(MODES), st.integers(0, 40), st.integers(0, 40), st.randoms(use_true_random=False))
def test_every_mode_and_size_of_a_picture(mode: str, width: int, height: int, random: Any) -> None:
    image = Image.new(mode, (width, height))
    if width and height:
        image.putpixel((width // 2, height // 2), image.getpixel((0, 0)))
    result = check_picture(image)
    if 0 in (width, height):
        assert result is None
    elif mode != "LAB":
        assert result is not None
        assert result.shape[:2] == (height, width)


@given(st.sampled_from(FORMATS), st.sampled_from(MODES), st.booleans())
def test_every_format_of_a_file(kind: str, mode: str, as_url: bool) -> None:
    image = Image.new(mode, (24, 16))
    try:
        content = file_of(image, kind)
    except (OSError, KeyError, ValueError, struct.error, TypeError):
        return
    result = check_picture(f"data:image/x;base64,{text_of(content)}" if as_url else text_of(content))
    if result is not None:
        assert result.shape[:2] == (16, 24)


@pytest.mark.parametrize("kind", FORMATS)
def test_a_picture_file_cut_off_anywhere(kind: str) -> None:
    rgb = Image.fromarray(np.random.default_rng(1).integers(0, 255, (40, 30, 3), dtype=np.uint8))
    content = file_of(rgb, kind)
    for cut in {*range(0, min(len(content), 64)), *range(64, len(content), max(1, len(content) // 40))}:
        if cut:
            check_picture(text_of(content[:cut]))
    assert check_picture(text_of(content)) is not None


@given(st.sampled_from(FORMATS), st.integers(0, 4000), st.integers(0, 255))
def test_a_picture_file_with_a_changed_byte(kind: str, place: int, value: int) -> None:
    content = bytearray(file_of(Image.fromarray(picture()[..., :3]), kind))
    content[place % len(content)] = value
    with warnings.catch_warnings():
        # Pillow warns of odd metadata, which is no matter here
        warnings.simplefilter("ignore")
        check_picture(text_of(bytes(content)))


@given(st.binary(min_size=1, max_size=200) | st.text(min_size=1, max_size=100).filter(str.strip))
def test_text_that_is_no_picture(value: bytes | str) -> None:
    assert check_picture(text_of(value) if isinstance(value, bytes) else value) is None


@pytest.mark.parametrize(
    "value",
    [
        "/etc/passwd",
        r"C:\Users\me\cup.png",
        "http://example.com/cup.png",
        "file:///etc/passwd",
        "data:,",
        "data:image/png;base64,",
    ],
)
def test_paths_and_addresses_are_no_pictures(value: str) -> None:
    assert check_picture(value) is None


def test_a_picture_too_large_to_unpack() -> None:
    """A file of a few bytes that claims 60000 x 60000 pixels."""
    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + b"IHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    assert check_picture(text_of(b"\x89PNG\r\n\x1a\n" + chunk)) is None


@given(
    st.sampled_from(
        [
            bool,
            np.uint8,
            np.int8,
            np.uint16,
            np.int32,
            np.int64,
            np.float16,
            np.float32,
            np.float64,
            np.complex64,
            object,
            "U3",
            "datetime64[s]",
        ]
    ),
    st.lists(st.integers(0, 6), max_size=5),
)
def test_every_kind_of_array(dtype: Any, shape: list[int]) -> None:
    check_picture(np.zeros(shape, dtype))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 255.0, 1e30])
def test_float_arrays_of_another_scale_are_refused(dtype: Any, value: float) -> None:
    array = np.full((4, 4, 3), 0.5, dtype)
    with np.errstate(over="ignore"):
        array[1, 2, 0] = value
    assert check_picture(array) is None


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_exif_rotation(orientation: int, kind: str) -> None:
    """A photo held sideways: stored turned, with a note how to turn it back."""
    upright = Image.new("RGB", (32, 48), "red")
    upright.paste("blue", (0, 0, 16, 24))
    back = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = upright.transpose(back[orientation]) if orientation in back else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = file_of(stored, kind, exif=exif, **({"quality": 95} if kind in ("JPEG", "WEBP") else {}))
    for value in (text_of(content), Image.open(io.BytesIO(content))):
        result = check_picture(value)
        assert result is not None
        assert result.shape[:2] == (48, 32)
        assert np.abs(result[4, 4].astype(int) - [0, 0, 255, 255]).max() < 60
        assert np.abs(result[44, 28].astype(int) - [255, 0, 0, 255]).max() < 60


def check_arguments(args: list[Any]) -> Settings | None:
    """Read them; what cannot be read is refused with a sentence."""
    try:
        return Settings.from_args(args)
    except LayerDiffuseError as error:
        refused = error
    assert is_sentence(refused), refused
    return None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.just(10**400),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=400)
@given(st.sampled_from([name for name, _ in ARGUMENTS if name != "enabled"]), JSON, st.booleans())
def test_every_value_of_every_argument(name: str, value: Any, by_name: bool) -> None:
    values = {**dict(ARGUMENTS), "enabled": True, name: value}
    result = check_arguments([{"enabled": True, name: value}] if by_name else list(values.values()))
    if result is None:
        return
    assert result.enabled
    assert 0 <= result.weight <= 2
    assert 0 <= result.ending_step <= 1
    assert result.method in METHODS


@settings(max_examples=200)
@given(st.lists(JSON, max_size=14))
def test_every_list_of_values(values: list[Any]) -> None:
    check_arguments(values)


BAD_VALUES: dict[str, list[Any]] = {
    "method": ["", None, 7, ["x"], {"a": 1}],
    "weight": [-0.1, 2.1, "heavy", None, [], float("nan"), 10**400],
    "ending_step": [-1, 1.01, "never", {}, float("inf")],
    "resize_mode": ["", None, 3, ["Just Resize"]],
    "fg_image": ["x", 5, ["x"], "http://x/y.png", b"raw".hex()],
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in BAD_VALUES.items() for value in values]
)
def test_bad_values_end_the_job(generate: Generate, name: str, value: Any) -> None:
    args = arguments(CONDITIONED[0])
    args[[argument for argument, _ in ARGUMENTS].index(name)] = value
    with pytest.raises(LayerDiffuseError) as caught:
        generate(args)
    assert is_sentence(caught.value)
    assert caught.value.status_code == 422


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(["1", "L", "LA", "P", "I;16", "RGB", "RGBA", "CMYK"]),
    st.integers(1, 90),
    st.integers(1, 90),
)
def test_init_pictures_of_every_mode_and_size(generate: Generate, mode: str, width: int, height: int) -> None:
    result = generate(arguments(), init_images=[Image.new(mode, (width, height))]).images[0]
    assert result.mode == "RGBA"
    assert result.size == (64, 64)


def test_an_init_picture_that_breaks_off(generate: Generate) -> None:
    content = file_of(Image.fromarray(picture()))
    broken = Image.open(io.BytesIO(content[: len(content) // 2]))
    with pytest.raises(BadPicture, match="init picture is not a picture file that can be read"):
        generate(arguments(), init_images=[broken])
