"""Pictures from outside: whatever a page, a web client or another script hands over, as RGBA uint8."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from lib_layerdiffusion.errors import BadPicture
from lib_layerdiffusion.pictures.arithmetic import Uint8Image

_EDITOR_KEYS = ("background", "image", "composite")


def to_rgba(picture: Image.Image, name: str = "init") -> Image.Image:
    """Return `picture` as RGBA; palette, grey and 16-bit pictures keep their transparency and brightness.

    `name` is what the picture is called in messages. Raises BadPicture.
    """
    if 0 in picture.size:
        raise BadPicture(
            f"The {name} picture is empty ({picture.width}x{picture.height} pixels); give another."
        )
    try:
        picture.load()
        if picture.mode == "La":
            picture = picture.convert("LA")
        if picture.mode.startswith(("I", "F")):
            # Pillow clips these to 8 bits instead of scaling them; 16 bits is what PNG files hold
            values = np.nan_to_num(np.asarray(picture).astype(np.float32))
            scale = 257.0 if values.max(initial=0) > 255 else 1.0
            picture = Image.fromarray((values / scale).clip(0, 255).round().astype(np.uint8))
        return picture if picture.mode == "RGBA" else picture.convert("RGBA")
    # a picture is read from its file only now, and every format has errors of its own
    except Exception as error:
        raise _unreadable(name, error) from error


def _unreadable(name: str, error: Exception) -> BadPicture:
    reason = str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
    return BadPicture(f"The {name} picture is not a picture file that can be read: {reason}.")


def flatten(picture: Image.Image, grey: int = 127) -> Image.Image:
    """Return an RGBA picture on opaque grey, as RGB, with Pillow's 8-bit blend."""
    background = Image.new("RGB", picture.size, (grey, grey, grey))
    background.paste(picture, mask=picture)
    return background


def read_picture(value: Any, name: str) -> Uint8Image | None:
    """Return the picture in `value` as RGBA uint8 [H, W, 4], or None where none was given.

    Accepts a numpy array (grey, RGB or RGBA; integers up to 255, uint16, or float in [0, 1]), a PIL picture,
    base64 text or a data URL of a picture file, and the dictionaries image editors make. None, "" and an
    empty dictionary are no picture. `name` is what the picture is called in messages. Raises BadPicture.
    """
    if isinstance(value, dict):
        value = next((value[k] for k in _EDITOR_KEYS if value.get(k) is not None), None)
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    if isinstance(value, Image.Image):
        return np.array(to_rgba(_upright(value, name), name))
    if isinstance(value, np.ndarray):
        return _from_array(value, name)
    if isinstance(value, str):
        return _from_text(value, name)
    raise BadPicture(
        f"The {name} picture is a {type(value).__name__}; give an RGBA array, a PIL picture or base64 text."
    )


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
        array = array // 257
    array = array.clip(0, 255).astype(np.uint8)
    if array.shape[2] in (1, 2):
        array = np.concatenate([array[..., :1].repeat(3, axis=2), array[..., 1:]], axis=2)
    if array.shape[2] == 3:
        array = np.concatenate([array, np.full_like(array[..., :1], 255)], axis=2)
    return array


def _from_text(text: str, name: str) -> Uint8Image:
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
        with Image.open(io.BytesIO(raw)) as picture:
            return np.array(to_rgba(_upright(picture, name), name))
    except BadPicture:
        raise
    except Exception as error:
        raise _unreadable(name, error) from error


def _upright(picture: Image.Image, name: str) -> Image.Image:
    """Turn a picture as its EXIF orientation says."""
    try:
        return ImageOps.exif_transpose(picture)
    except Exception as error:
        raise _unreadable(name, error) from error
