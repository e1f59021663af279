"""Pictures from outside: whatever a page, a web client or another script hands over, as RGBA uint8."""

from __future__ import annotations

import base64
import io
import math
from typing import Any

import numpy as np
from PIL import Image

from lib_layerdiffusion.errors import BadPicture
from lib_layerdiffusion.pictures.arithmetic import Uint8Image

FORMATS = ("PNG", "JPEG", "MPO", "WEBP", "GIF", "BMP", "TIFF", "PPM", "TGA", "AVIF", "HEIF", "JXL")
"""What is opened, as Pillow and its plug-ins call it. Others may start a program (EPS does), or need one."""

LARGEST = 64_000_000
"""Pixels that a condition picture may have in its file."""
ENOUGH = 4096 * 4096
"""Pixels that it keeps: it will be resized to the generation."""

ORIENTATION = 0x0112
"""The EXIF tag that says how to turn a picture."""
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_EDITOR_KEYS = ("background", "image", "composite")
_STRIP = 256


def open_picture(raw: bytes) -> Image.Image:
    """Open a picture file of one of the FORMATS, without decoding it. Raises what Pillow raises."""
    Image.init()
    return Image.open(io.BytesIO(raw), formats=[kind for kind in FORMATS if kind in Image.OPEN])


def to_rgba(picture: Image.Image, name: str = "init") -> Image.Image:
    """Return `picture` as RGBA; palette, grey and 16-bit pictures keep their transparency and brightness.

    `name` is what the picture is called in messages. Raises BadPicture.
    """
    _check(picture, name)
    try:
        picture.load()
        if picture.mode == "La":
            picture = picture.convert("LA")
        if picture.mode.startswith(("I", "F")):
            picture = _from_deep_grey(picture)
        return picture if picture.mode == "RGBA" else picture.convert("RGBA")
    # a picture is read from its file only now, and every format has errors of its own
    except Exception as error:
        raise _unreadable(name, error) from error


def _check(picture: Image.Image, name: str) -> None:
    if 0 in picture.size:
        raise BadPicture(
            f"The {name} picture is empty ({picture.width}x{picture.height} pixels); give another."
        )
    if picture.format is not None and picture.format not in FORMATS:
        raise _unreadable(name, ValueError(f"{picture.format} files are not opened"))


def _from_deep_grey(picture: Image.Image) -> Image.Image:
    """Scale what Pillow would clip to 8 bits: integers are of 16 bits, floats from 0 to 255."""
    values = np.asarray(picture)
    levels = np.nan_to_num(values.astype(np.float32)) / (257 if picture.mode.startswith("I") else 1)
    grey = Image.fromarray(levels.clip(0, 255).round().astype(np.uint8))
    # PNG files name one value that is transparent
    clear = picture.info.get("transparency")
    if isinstance(clear, int):
        grey.putalpha(Image.fromarray(np.where(values == clear, 0, 255).astype(np.uint8)))
    return grey


def _unreadable(name: str, error: Exception) -> BadPicture:
    reason = str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
    if isinstance(error, Image.UnidentifiedImageError):
        reason = "give a PNG, JPEG, WebP, GIF, BMP or TIFF file"
    return BadPicture(f"The {name} picture is not a picture file that can be read: {reason}.")


def has_alpha(picture: Image.Image) -> bool:
    return picture.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in picture.info


def flatten(picture: Image.Image, grey: int = 127) -> Image.Image:
    """Return an RGBA picture on opaque grey, as RGB, with Pillow's 8-bit blend."""
    background = Image.new("RGB", picture.size, (grey, grey, grey))
    background.paste(picture, mask=picture)
    return background


def given_picture(value: Any, name: str, enough: int = ENOUGH) -> Uint8Image | None:
    """Return the picture in `value` as RGBA uint8 [H, W, 4], or None where none was given.

    Accepts a numpy array (grey, RGB or RGBA; integers up to 255, uint16, or float in [0, 1]), a PIL picture,
    base64 text or a data URL of a picture file, and the dictionaries image editors make. None, "" and an
    empty dictionary are no picture. Files and PIL pictures of more pixels than `enough` are reduced, those of
    more than LARGEST refused. `name` is what the picture is called in messages. Raises BadPicture.
    """
    if isinstance(value, dict):
        value = next((value[k] for k in _EDITOR_KEYS if value.get(k) is not None), None)
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    if isinstance(value, Image.Image):
        return _from_picture(value, name, enough)
    if isinstance(value, np.ndarray):
        return _from_array(value, name)
    if isinstance(value, str):
        with _opened(value, name) as picture:
            return _from_picture(picture, name, enough)
    raise BadPicture(
        f"The {name} picture is a {type(value).__name__}; give an RGBA array, a PIL picture or base64 text."
    )


def given_init_picture(value: Any) -> Image.Image:
    """Return an init picture as RGBA, at its own size. Takes the same. Raises BadPicture."""
    if isinstance(value, Image.Image):
        # turned upright by whoever opened it, and of a size that was let in
        return to_rgba(value)
    read = given_picture(value, "init", enough=LARGEST)
    if read is None:
        raise BadPicture("One of the init pictures is missing; give a picture for each.")
    return Image.fromarray(read)


def _from_picture(picture: Image.Image, name: str, enough: int) -> Uint8Image:
    _check(picture, name)
    if picture.width * picture.height > LARGEST:
        raise _too_large(name, f"{picture.width}x{picture.height} pixels")
    turn = _turn(picture, name)
    factor = math.ceil(math.sqrt(picture.width * picture.height / enough))
    if factor > 1:
        picture = _reduced(picture, factor, name)
    picture = to_rgba(picture, name)
    return np.array(picture if turn is None else picture.transpose(turn))


def _too_large(name: str, size: str) -> BadPicture:
    return BadPicture(
        f"The {name} picture is too large ({size}); make it smaller than {LARGEST // 1_000_000} megapixels."
    )


def _reduced(picture: Image.Image, factor: int, name: str) -> Image.Image:
    """Shrink by a whole number, strip by strip: as RGBA the picture may take 32 times what it takes now."""
    size = -(-picture.width // factor), -(-picture.height // factor)
    result = Image.new("RGBA", size)
    for top in range(0, size[1], _STRIP):
        box = 0, top * factor, picture.width, min((top + _STRIP) * factor, picture.height)
        result.paste(to_rgba(picture.crop(box), name).reduce(factor), (0, top))
    return result


def _from_array(array: np.ndarray, name: str) -> Uint8Image:
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[2] not in (1, 2, 3, 4) or 0 in array.shape:
        raise BadPicture(
            f"The {name} picture is an array of shape {list(array.shape)}; use [height, width, 3 or 4]."
        )
    if array.dtype.kind not in "fbiu":
        raise BadPicture(
            f"The {name} picture is an array of {array.dtype}; use uint8, or floats from 0 to 1."
        )
    if array.dtype.kind == "f":
        if not np.isfinite(array).all():
            raise BadPicture(f"The {name} picture holds values that are not numbers.")
        # a resampled picture goes a little beyond 0 to 1, one of another scale far
        if array.max() > 2:
            raise BadPicture(
                f"The {name} picture has values up to {array.max():g}; floats must be from 0 to 1."
            )
        array = (array.clip(0, 1) * 255).round()
    elif array.dtype.kind == "b":
        array = array * np.uint8(255)
    elif array.dtype == np.uint16:
        array = (array / np.float32(257)).round()
    array = array.clip(0, 255).astype(np.uint8)
    if array.shape[2] in (1, 2):
        array = np.concatenate([array[..., :1].repeat(3, axis=2), array[..., 1:]], axis=2)
    if array.shape[2] == 3:
        array = np.concatenate([array, np.full_like(array[..., :1], 255)], axis=2)
    return array


def _opened(text: str, name: str) -> Image.Image:
    """Open the picture file in base64 text or a data URL, without decoding it."""
    data = text.strip()
    if data.startswith("data:"):
        data = data.partition(",")[2]
    try:
        raw = base64.b64decode("".join(data.split()), validate=True)
    except ValueError as error:
        raise BadPicture(
            f"The {name} picture is text that is not base64; send the file as base64 or as a data URL."
        ) from error
    try:
        return open_picture(raw)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_large(name, "far more than that") from error
    except Exception as error:
        raise _unreadable(name, error) from error


def _turn(picture: Image.Image, name: str) -> Image.Transpose | None:
    """Load a picture, and return how it is turned upright, as its EXIF orientation says."""
    try:
        picture.load()
        # that has turned it
        if picture.format == "TIFF":
            return None
        return UPRIGHT.get(picture.getexif().get(ORIENTATION))
    except Exception as error:
        raise _unreadable(name, error) from error
