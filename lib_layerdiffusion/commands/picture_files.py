"""Picture files of a command: found, read with what is written in them, and written as they were."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, PngImagePlugin

from lib_layerdiffusion.errors import BadPicture, BadSetting
from lib_layerdiffusion.pictures.arithmetic import Uint8Image
from lib_layerdiffusion.pictures.reading import has_alpha, open_picture, to_rgba

SUFFIXES = (".png", ".webp", ".tif", ".tiff")
"""Of files that can have transparency, and are written as what they were."""
LARGEST = 200_000_000
"""Pixels of a picture: what is done to it takes six times its bytes."""


def found(paths: Sequence[Path]) -> list[Path]:
    """Return the files that were named, and the picture files of the folders. Raises BadSetting."""
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(one for one in path.iterdir() if one.suffix.lower() in SUFFIXES)
            if not inside:
                raise BadSetting(f"There is no {', '.join(SUFFIXES)} file in {path}.")
            files += inside
        elif path.exists():
            files.append(path)
        else:
            raise BadSetting(f"There is no {path}.")
    return files


def read(path: Path) -> tuple[Uint8Image, Image.Image]:
    """Return a file as RGBA [H, W, 4], and as Pillow has it, with all its texts. Raises BadPicture."""
    picture = _opened(path)
    if not has_alpha(picture):
        raise BadPicture(
            f"{path} has no transparency (its mode is {picture.mode}); give a transparent picture."
        )
    return np.array(to_rgba(picture, str(path))), picture


def read_any(path: Path) -> Uint8Image:
    """Return a file as RGBA [H, W, 4], opaque where it has no transparency. Raises BadPicture."""
    return np.array(to_rgba(_opened(path), str(path)))


def _opened(path: Path) -> Image.Image:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise BadPicture(f"{path} cannot be read: {error.strerror or error}.") from error
    try:
        with warnings.catch_warnings():
            # large, not dangerous: it is the user's own
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            picture = open_picture(raw)
    except Image.DecompressionBombError as error:
        raise BadPicture(f"{path} is too large: {error}.") from error
    except Exception as error:
        raise BadPicture(f"{path} is no picture file that can be read; give PNG, WebP or TIFF.") from error
    if picture.width * picture.height > LARGEST:
        raise BadPicture(
            f"{path} is too large ({picture.width}x{picture.height} pixels); make it smaller than "
            f"{LARGEST // 1_000_000} megapixels."
        )
    return picture


def encode(rgba: Uint8Image, suffix: str, original: Image.Image | None = None) -> bytes:
    """Return the bytes of a file of this kind, with the texts, profile and EXIF data of the original."""
    info = {} if original is None else original.info
    kept = {name: info[name] for name in ("icc_profile", "exif", "dpi") if info.get(name)}
    buffer, picture = io.BytesIO(), Image.fromarray(rgba)
    if suffix == ".webp":
        kept.pop("dpi", None)
        picture.save(buffer, "WEBP", lossless=True, exact=True, **kept)
    elif suffix in (".tif", ".tiff"):
        picture.save(buffer, "TIFF", compression="tiff_deflate", **kept)
    else:
        texts = PngImagePlugin.PngInfo()
        for key, value in info.items():
            if isinstance(value, PngImagePlugin.iTXt):
                texts.add_itxt(str(key), value, value.lang or "", value.tkey or "")
            elif isinstance(key, str) and isinstance(value, str):
                texts.add_text(key, value)
        picture.save(buffer, "PNG", pnginfo=texts, **kept)
    return buffer.getvalue()
