"""Keeps the transparency of our pictures through everything Forge does with a finished picture.

What endangers it: the "stealth infotext" writer, on by default, sets alpha to 255 in place before a PNG is
saved, so the gallery's copy is opaque too; JPEG and WebP are written without alpha, and so is the answer of
the web API when one of them is the image format; AVIF, HEIF and JPEG XL are written with about the colours
and the alpha. So transparent pictures are written in the formats of LOSSLESS alone, and sent as PNG.
Pictures that are not ours are left alone, unless a setting says to keep every transparency.
"""

from __future__ import annotations

import base64
import io
import itertools
import struct
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image, PngImagePlugin

from lib_layerdiffusion.hosts import left_out, saved_files, scene_files
from lib_layerdiffusion.hosts.wrapping import wrap
from lib_layerdiffusion.request.options import Options

MARK = "layerdiffuse_alpha"
LAYER = "layerdiffuse_layer"
INFOTEXT = "layerdiffusion_enabled: True"
WEBP = ".webp"
LOSSLESS: dict[str, dict[str, Any]] = {
    # exact: keep the colour of what is fully transparent
    WEBP: {"lossless": True, "exact": True},
    ".jxl": {"lossless": True},
    ".heif": {"quality": -1, "chroma": 444, "matrix_coefficients": 0},
}
"""What Pillow and its plug-ins are told so that every value is kept; PNG needs nothing, AVIF cannot."""
LARGEST_WEBP = 16383
"""Pixels a side."""
EXIF_IFD, USER_COMMENT = 0x8769, 0x9286
LONG, UNDEFINED = 4, 7

Kept = Callable[..., bool]
"""Called with a picture, and its infotext where that is not in it: whether its transparency is kept."""


def mark(picture: Image.Image) -> None:
    setattr(picture, MARK, True)


def name_layer(picture: Image.Image, layer: str) -> None:
    setattr(picture, LAYER, layer)


def is_transparent(picture: Any) -> bool:
    return getattr(picture, "mode", None) == "RGBA" and picture.getextrema()[3][0] < 255


def is_ours(picture: Image.Image, infotext: str | None = None) -> bool:
    """True for a picture with real transparency that we made, also after it was saved and read again."""
    if not is_transparent(picture):
        return False
    text = infotext if infotext is not None else picture.info.get("parameters", "")
    return hasattr(picture, MARK) or (isinstance(text, str) and INFOTEXT in text)


def install(keeps_every: Callable[[], bool] = lambda: False) -> None:
    """Wrap the host's writers, once per process. Call when the host's modules are loaded.

    `keeps_every` says at each picture whether its transparency is kept whoever made it.
    """
    from modules import images

    def is_kept(picture: Any, infotext: str | None = None) -> bool:
        return is_ours(picture, infotext) or (is_transparent(picture) and keeps_every())

    wrap(images, "save_image", saved_files.remembered)
    wrap(images, "image_grid", left_out.empty_in_grids)
    wrap(images, "save_image_with_geninfo", partial(_write_without_loss, is_kept))
    # not every host has a stealth writer
    stealth = sys.modules.get("modules.stealth_infotext")
    if stealth is not None:
        wrap(stealth, "add_stealth_pnginfo", partial(_skip, is_kept))
    api = sys.modules.get("modules.api.api")
    if api is not None:
        wrap(api, "encode_pil_to_base64", partial(send_as_png, is_kept))


def before_image_saved(params: Any, options: Options) -> None:
    """Host callback: name the layer in the file name; save transparency where and as the options say."""
    path = Path(params.filename)
    unnamed = path.with_suffix("")
    layer = getattr(params.image, LAYER, None)
    if layer is not None:
        path = path.with_stem(f"{path.stem}-{layer}")
    infotext = (params.pnginfo or {}).get("parameters")
    if is_ours(params.image, infotext) or (options.keep_every and is_transparent(params.image)):
        path = path.with_suffix(_suffix(path.suffix, params.image, options))
        if options.saved_folder is not None:
            path = _free(path.parent / options.saved_folder / path.name)
            path.parent.mkdir(parents=True, exist_ok=True)
    params.filename = str(path)
    scene_files.follow(params, unnamed, options)


def _suffix(given: str, picture: Image.Image, options: Options) -> str:
    if options.saved_suffix == WEBP and max(picture.size) <= LARGEST_WEBP:
        return WEBP
    # Forge has a lossy WebP only, which the option is for
    return given if given.lower() in LOSSLESS and given.lower() != WEBP else ".png"


def _free(path: Path) -> Path:
    """The path, or one beside it that is not taken: hosts count only the files of their own folder."""
    names = (path.with_stem(f"{path.stem}-{number}") for number in itertools.count(1))
    return next(one for one in itertools.chain([path], names) if not one.exists())


def _skip(is_kept: Kept, write: Callable[[Any], None]) -> Callable[[Any], None]:
    def add_stealth_pnginfo(params: Any) -> None:
        if not is_kept(params.image, (params.pnginfo or {}).get("parameters")):
            write(params)

    return add_stealth_pnginfo


def _write_without_loss(is_kept: Kept, write: Callable[..., Any]) -> Callable[..., Any]:
    def save_image_with_geninfo(
        image: Any,
        geninfo: str | None,
        filename: str,
        extension: str | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        suffix = (extension or Path(filename).suffix).lower()
        if suffix not in LOSSLESS or not is_kept(image, geninfo):
            return write(image, geninfo, filename, extension, *args, **kwargs)
        exif = _exif(geninfo) if geninfo else b""
        kind = Image.registered_extensions()[suffix]
        image.save(filename, format=kind, exif=exif, **LOSSLESS[suffix])

    return save_image_with_geninfo


def _exif(comment: str) -> bytes:
    """Exif with nothing but a user comment, of the type that hosts read; Pillow would write another."""
    text = b"UNICODE\0" + comment.encode("utf-16-be")
    pointer = struct.pack("<HHHIII", 1, EXIF_IFD, LONG, 1, 26, 0)
    entry = struct.pack("<HHHIII", 1, USER_COMMENT, UNDEFINED, len(text), 44, 0)
    return b"Exif\0\0II*\0" + struct.pack("<I", 8) + pointer + entry + text


def send_as_png(is_kept: Kept, encode: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Wrap the `encode_pil_to_base64` of a host's web API: what `is_kept` is a PNG."""

    def encode_pil_to_base64(image: Any) -> Any:
        if not isinstance(image, Image.Image):
            return encode(image)
        if is_kept(image):
            return _png(image)
        try:
            return encode(image)
        except Exception:
            # hosts save formats that they cannot send
            if not _is_of_our_job(image):
                raise
            return _png(image)

    return encode_pil_to_base64


def _is_of_our_job(picture: Image.Image) -> bool:
    return hasattr(picture, MARK) or INFOTEXT in str(picture.info.get("parameters", ""))


def _png(picture: Image.Image) -> bytes:
    metadata = PngImagePlugin.PngInfo()
    for key, value in picture.info.items():
        if isinstance(key, str) and isinstance(value, str):
            metadata.add_text(key, value)
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", pnginfo=metadata)
    return base64.b64encode(buffer.getvalue())
