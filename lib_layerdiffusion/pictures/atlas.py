"""Many pictures in one, with a description that game engines read: trimmed sprites, packed.

The description is the JSON "hash" of TexturePacker, which Pixi, Phaser, Babylon, Godot and Unity importers
read. Pixels inside a sprite's box are those of its picture, byte for byte; around it lies as much of its
edge again as `extrude` says, so that filtering never mixes in a neighbour.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np

from lib_layerdiffusion.errors import BadPicture
from lib_layerdiffusion.pictures.arithmetic import Uint8Image
from lib_layerdiffusion.pictures.geometry import Box, common_box, placed, visible_box
from lib_layerdiffusion.pictures.packing import pack


def make_atlas(
    pictures: Mapping[str, Uint8Image],
    largest: int = 4096,
    padding: int = 2,
    extrude: int = 1,
    frames: bool = False,
    scale: float = 1.0,
    image: str = "",
) -> tuple[Uint8Image, dict[str, Any]]:
    """Pack pictures, RGBA [H, W, 4] by name, and return the atlas with its description.

    `largest` is what a side may have, `padding` the pixels between sprites; `frames` cuts all to one box,
    which pictures of one size alone have; `scale` and `image` are only written down. Raises BadPicture.
    """
    boxes = _boxes(pictures, frames)
    room = 2 * extrude + padding
    sizes = [(box.right - box.left + room, box.bottom - box.top + room) for box in boxes.values()]
    # no padding is needed beyond the last row and column
    packed = pack(sizes, largest + padding)
    if packed is None:
        raise BadPicture(
            f"The {len(pictures)} pictures do not fit into {largest}x{largest} pixels; give a larger --max, "
            "a smaller --scale, or fewer pictures."
        )
    places, (width, height) = packed
    sheet = np.zeros((max(1, height - padding), max(1, width - padding), 4), np.uint8)
    described = {}
    for (name, box), (left, top) in zip(boxes.items(), places, strict=True):
        sprite = placed(pictures[name], box)
        wide = cv2.copyMakeBorder(sprite, extrude, extrude, extrude, extrude, cv2.BORDER_REPLICATE)
        sheet[top : top + wide.shape[0], left : left + wide.shape[1]] = wide
        described[name] = _frame(pictures[name], box, left + extrude, top + extrude)
    meta = {
        "app": "LayerDiffuse for Forge",
        "version": "1.0",
        "image": image,
        "format": "RGBA8888",
        "size": {"w": sheet.shape[1], "h": sheet.shape[0]},
        "scale": f"{scale:g}",
    }
    return sheet, {"frames": described, "meta": meta}


def read_atlas(sheet: Uint8Image, description: Mapping[str, Any]) -> dict[str, Uint8Image]:
    """Return the untrimmed pictures by name; what was cut off is invisible black."""
    pictures = {}
    for name, entry in description["frames"].items():
        frame, inside, size = entry["frame"], entry["spriteSourceSize"], entry["sourceSize"]
        picture = np.zeros((size["h"], size["w"], 4), np.uint8)
        picture[inside["y"] : inside["y"] + inside["h"], inside["x"] : inside["x"] + inside["w"]] = sheet[
            frame["y"] : frame["y"] + frame["h"], frame["x"] : frame["x"] + frame["w"]
        ]
        pictures[name] = picture
    return pictures


def scaled(rgba: Uint8Image, scale: float) -> Uint8Image:
    """Return the picture resized by a factor, with colours weighted by alpha; one pixel a side at least."""
    if scale == 1:
        return rgba
    size = max(1, round(rgba.shape[1] * scale)), max(1, round(rgba.shape[0] * scale))
    values = rgba.astype(np.float32)
    values[..., :3] *= values[..., 3:] / 255
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    values = np.asarray(cv2.resize(values, size, interpolation=method), np.float32).reshape(
        size[1], size[0], 4
    )
    values[..., :3] /= np.maximum(values[..., 3:] / 255, np.float32(1e-6))
    return np.rint(values.clip(0, 255)).astype(np.uint8)


def _boxes(pictures: Mapping[str, Uint8Image], frames: bool) -> dict[str, Box]:
    boxes = {name: visible_box(picture) for name, picture in pictures.items()}
    if frames:
        sizes = sorted({picture.shape[:2] for picture in pictures.values()})
        if len(sizes) > 1:
            first, second = ("{1}x{0}".format(*size) for size in sizes[:2])
            raise BadPicture(f"Frames of one animation have one size, and these have {first} and {second}.")
        boxes = dict.fromkeys(boxes, common_box(boxes.values()))
    # one pixel stands for a picture without anything visible
    return {name: box or Box(0, 1, 0, 1) for name, box in boxes.items()}


def _frame(picture: Uint8Image, box: Box, left: int, top: int) -> dict[str, Any]:
    height, width = picture.shape[:2]
    size = {"w": box.right - box.left, "h": box.bottom - box.top}
    return {
        "frame": {"x": left, "y": top, **size},
        "rotated": False,
        "trimmed": box != (0, height, 0, width),
        "spriteSourceSize": {"x": box.left, "y": box.top, **size},
        "sourceSize": {"w": width, "h": height},
        "pivot": {"x": 0.5, "y": 0.5},
    }
