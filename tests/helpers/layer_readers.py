"""Layered files as other programs' readers see them: each layer with name, place, bytes and switches.

A layer is (name, box, bytes, opacity in 1/255, visible), a group (name, members, opacity, visible); bottom
first.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from lib_layerdiffusion.pictures.stack import Group, Layer, Stack


def described(members: Sequence[Layer | Group]) -> list[tuple[Any, ...]]:
    """What a reader ought to find of the members of a stack."""
    found: list[tuple[Any, ...]] = []
    for member in members:
        shown = round(member.opacity * 255), member.visible
        if isinstance(member, Group):
            found.append((member.name, described(member.members), *shown))
        else:
            box = (member.left, member.top, member.height, member.width) if member.picture.size else None
            found.append((member.name, box, member.picture.tobytes(), *shown))
    return found


def from_psd(data: bytes) -> tuple[Stack, np.ndarray, np.ndarray]:
    """Read with psd-tools: the stack, the merged picture, and psd-tools' own composite of the layers."""
    psd_tools = pytest.importorskip("psd_tools")
    document = psd_tools.PSDImage.open(io.BytesIO(data))
    members = [_psd_member(member) for member in document]
    own = document.composite(force=True, ignore_preview=True)
    return Stack(document.width, document.height, members), np.asarray(document.topil()), np.asarray(own)


def _psd_member(member: Any) -> Layer | Group:
    shown = member.opacity / 255, member.visible
    if member.is_group():
        return Group(member.name, [_psd_member(inner) for inner in member], *shown)
    assert not member.has_mask()
    picture = member.topil()
    if picture is None:
        pixels = np.zeros((0, 0, 4), np.uint8)
    else:
        assert picture.mode == "RGBA"
        pixels = np.array(picture)
    return Layer(member.name, pixels, member.left, member.top, *shown)


def from_ora(data: bytes) -> tuple[Stack, np.ndarray]:
    """Read as the specification says: the stack and the merged picture."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        first = archive.infolist()[0]
        assert (first.filename, first.compress_type) == ("mimetype", zipfile.ZIP_STORED)
        assert archive.read("mimetype") == b"image/openraster"
        image = ElementTree.fromstring(archive.read("stack.xml"))
        with Image.open(io.BytesIO(archive.read("Thumbnails/thumbnail.png"))) as thumbnail:
            assert max(thumbnail.size) <= 256
        root = image.find("stack")
        assert root is not None
        members = [_ora_member(element, archive) for element in reversed(root)]
        merged = _png(archive, "mergedimage.png")
    return Stack(int(image.attrib["w"]), int(image.attrib["h"]), members), merged


def _ora_member(element: ElementTree.Element, archive: zipfile.ZipFile) -> Layer | Group:
    assert element.attrib["composite-op"] == "svg:src-over"
    name = element.attrib["name"]
    shown = float(element.attrib["opacity"]), element.attrib["visibility"] == "visible"
    if element.tag == "stack":
        return Group(name, [_ora_member(inner, archive) for inner in reversed(element)], *shown)
    place = int(element.attrib["x"]), int(element.attrib["y"])
    return Layer(name, _png(archive, element.attrib["src"]), *place, *shown)


def _png(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    with Image.open(io.BytesIO(archive.read(name))) as picture:
        assert picture.mode == "RGBA"
        assert not picture.info.get("interlace")
        return np.array(picture)
