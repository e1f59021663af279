"""A stack of layers as an OpenRaster file, which Krita, GIMP and MyPaint open.

After the OpenRaster specification 0.0.6 (https://www.openraster.org).
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Sequence
from xml.etree import ElementTree

from PIL import Image

from lib_layerdiffusion.pictures.arithmetic import Uint8Image
from lib_layerdiffusion.pictures.stack import Group, Layer, Stack

THUMBNAIL = 256
"""Pixels that a side of the thumbnail has at most."""
_ALWAYS = (1980, 1, 1, 0, 0, 0)
"""The time that files in the archive carry: the same stack gives the same bytes."""


def encode_ora(stack: Stack) -> bytes:
    """Return the OpenRaster file of `stack`. Every byte of its layers is in it, hidden colours too.

    A layer of no pixels becomes one transparent pixel, since a PNG has at least one.
    """
    files = _numbered(stack)
    image = ElementTree.Element(
        "image", version="0.0.6", w=str(stack.width), h=str(stack.height), xres="72", yres="72"
    )
    _add(ElementTree.SubElement(image, "stack"), stack.members, files)
    composite = stack.composite()
    small = Image.fromarray(composite)
    small.thumbnail((THUMBNAIL, THUMBNAIL))
    result = io.BytesIO()
    with zipfile.ZipFile(result, "w") as archive:
        # first and stored, so that the kind of file can be told from its first bytes
        _put(archive, "mimetype", b"image/openraster", zipfile.ZIP_STORED)
        _put(archive, "stack.xml", ElementTree.tostring(image, "UTF-8"), zipfile.ZIP_DEFLATED)
        for layer, name in files.items():
            _put(archive, name, _png(layer.picture), zipfile.ZIP_STORED)
        _put(archive, "mergedimage.png", _png(composite), zipfile.ZIP_STORED)
        thumbnail = io.BytesIO()
        small.save(thumbnail, "PNG")
        _put(archive, "Thumbnails/thumbnail.png", thumbnail.getvalue(), zipfile.ZIP_STORED)
    return result.getvalue()


def _numbered(stack: Stack) -> dict[Layer, str]:
    return {layer: f"data/layer{number:03}.png" for number, layer in enumerate(stack.layers())}


def _add(parent: ElementTree.Element, members: Sequence[Layer | Group], files: dict[Layer, str]) -> None:
    """Describe `members` below `parent`, where the top one stands first."""
    for member in reversed(members):
        shown = {
            "name": "".join(_allowed(member.name)),
            "opacity": f"{member.opacity:.6g}",
            "visibility": "visible" if member.visible else "hidden",
            "composite-op": "svg:src-over",
        }
        if isinstance(member, Layer):
            place = {"x": str(member.left), "y": str(member.top), "src": files[member]}
            ElementTree.SubElement(parent, "layer", {**shown, **place})
        else:
            _add(ElementTree.SubElement(parent, "stack", shown), member.members, files)


def _allowed(text: str) -> Iterator[str]:
    """The characters that XML can hold, a replacement character for each other one."""
    for character in text:
        code = ord(character)
        fine = character in "\t\n\r" or 0x20 <= code <= 0xD7FF or 0xE000 <= code <= 0xFFFD or code > 0xFFFF
        yield character if fine else "\ufffd"


def _put(archive: zipfile.ZipFile, name: str, data: bytes, how: int) -> None:
    entry = zipfile.ZipInfo(name, _ALWAYS)
    entry.compress_type = how
    archive.writestr(entry, data)


def _png(picture: Uint8Image) -> bytes:
    if not picture.size:
        picture = picture.__class__((1, 1, 4), picture.dtype)
        picture[:] = 0
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG", compress_level=4)
    return file.getvalue()
