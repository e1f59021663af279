"""What hosts do with finished pictures: resize, lay into a grid, save. Looked up here by name at each use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

Levels = NDArray[np.float64]


def resize_image(mode: int, image: Image.Image, width: int, height: int) -> Image.Image:
    """Resize as hosts do: 0 stretches, 1 covers and cuts, 2 fits in and repeats the edge."""
    if mode == 0:
        return image.resize((width, height), Image.Resampling.LANCZOS)
    wide = image.width * height > width * image.height
    by_height = wide if mode == 1 else not wide
    size = (
        (image.width * height // image.height, height)
        if by_height
        else (width, image.height * width // image.width)
    )
    scaled = image.resize((max(1, size[0]), max(1, size[1])), Image.Resampling.LANCZOS)
    left, top = width // 2 - scaled.width // 2, height // 2 - scaled.height // 2
    if mode == 1:
        result = Image.new(image.mode, (width, height))
        result.paste(scaled, (left, top))
        return result
    pixels = np.asarray(scaled)
    padding = [(top, height - top - scaled.height), (left, width - left - scaled.width)]
    return Image.fromarray(np.pad(pixels, [*padding, (0, 0)][: pixels.ndim], mode="edge"))


def setup_color_correction(image: Image.Image) -> Levels:
    """Return what later pictures are to have: the mean level of each channel [3]."""
    return np.asarray(image.convert("RGB"), np.float64).mean((0, 1))


def color_corrected(image: Image.Image, corrections: Sequence[Levels] | None, number: int) -> Image.Image:
    """Return picture `number` of a batch in RGB, its channels shifted to the mean levels that are set for it.

    Hosts match whole histograms.
    """
    if corrections is None or number >= len(corrections):
        return image
    pixels = np.asarray(image.convert("RGB"), np.float64)
    shifted = pixels + (corrections[number] - pixels.mean((0, 1)))
    return Image.fromarray(shifted.round().clip(0, 255).astype(np.uint8))


def apply_overlay(
    image: Image.Image, paste_loc: tuple[int, int, int, int] | None, overlay: Image.Image | None
) -> Image.Image:
    """Put an inpainted picture in its place (x, y, w, h), and lay the rest of the original over it."""
    if overlay is None:
        return image
    if paste_loc is not None:
        left, top, width, height = paste_loc
        canvas = Image.new("RGB", overlay.size)
        canvas.paste(resize_image(1, image, width, height), (left, top))
        image = canvas
    return Image.alpha_composite(image.convert("RGBA"), overlay).convert("RGB")


def image_grid(imgs: Sequence[Image.Image], batch_size: int = 1, rows: int | None = None) -> Image.Image:
    """Lay pictures out in rows, as many as a batch has pictures."""
    rows = min(rows or batch_size, len(imgs))
    columns = -(-len(imgs) // rows)
    width, height = (max(sides) for sides in zip(*(image.size for image in imgs), strict=True))
    grid = Image.new("RGBA", (columns * width, rows * height), (0, 0, 0, 255))
    for number, image in enumerate(imgs):
        grid.paste(image, (number % columns * width, number // columns * height))
    return grid


def save_image(
    image: Image.Image,
    path: Path,
    basename: str = "",
    extension: str = "png",
    info: str | None = None,
    scripts: Sequence[Any] = (),
    p: Any = None,
) -> tuple[str, str | None]:
    """Write a file under the next free number, and as scripts change its name, which says the format.

    As in hosts a JPEG file has no alpha. The infotext, which scripts may change, is in PNG files alone.
    """
    path.mkdir(parents=True, exist_ok=True)
    taken = [file.stem.removeprefix(basename).partition("-")[0] for file in path.glob(f"{basename}*")]
    number = max((int(text) for text in taken if text.isdigit()), default=-1) + 1
    named = path / f"{basename}{number:05}.{extension}"
    params = SimpleNamespace(image=image, p=p, filename=str(named), pnginfo={"parameters": info})
    for script in scripts:
        script.on_before_image_saved(params)
    metadata = PngImagePlugin.PngInfo()
    if params.pnginfo["parameters"] is not None:
        metadata.add_text("parameters", params.pnginfo["parameters"])
    opaque = Path(params.filename).suffix in (".jpg", ".jpeg")
    (image.convert("RGB") if opaque else image).save(params.filename, pnginfo=metadata)
    return str(params.filename), None


def flatten(img: Image.Image, bgcolor: str) -> Image.Image:
    """Lay a picture on a background."""
    if img.mode != "RGBA":
        return img.convert("RGB")
    return Image.alpha_composite(Image.new("RGBA", img.size, bgcolor), img).convert("RGB")


@dataclass
class Grid:
    """A picture cut into tiles: rows of (top, height, [left, width, tile])."""

    tiles: list[tuple[int, int, list[list[Any]]]]
    tile_w: int
    tile_h: int
    image_w: int
    image_h: int
    overlap: int


def split_grid(image: Image.Image, tile_w: int, tile_h: int, overlap: int) -> Grid:
    """Cut a picture, at least as large as a tile, into tiles that overlap by `overlap` or more."""

    def starts(side: int, tile: int) -> list[int]:
        count = max(1, -(-(side - overlap) // (tile - overlap)))
        return [n * (side - tile) // max(1, count - 1) for n in range(count)]

    rows = [
        (
            top,
            tile_h,
            [
                [left, tile_w, image.crop((left, top, left + tile_w, top + tile_h))]
                for left in starts(image.width, tile_w)
            ],
        )
        for top in starts(image.height, tile_h)
    ]
    return Grid(rows, tile_w, tile_h, image.width, image.height, overlap)


def combine_grid(grid: Grid) -> Image.Image:
    """Put tiles together on an opaque canvas, each over the ones before it."""
    canvas = Image.new("RGB", (grid.image_w, grid.image_h))
    for top, _, row in grid.tiles:
        for left, _, tile in row:
            canvas.paste(tile, (left, top))
    return canvas
