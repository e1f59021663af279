"""Time of the picture arithmetic around a generation, against the same formulas written down plainly.

    python -m benchmarks.pictures [--size 2048] [--rounds 7] [--threads 1]

The plain ones work on whole arrays, step by step, and on colour and alpha apart. The padding of a picture
needs a resize of each of its levels down and one up; how long those alone take is printed as its floor.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np

from benchmarks.report import Report, paired, parse, parser, peak_memory
from lib_layerdiffusion.pictures import arithmetic, edits
from lib_layerdiffusion.pictures.arithmetic import FloatImage, Uint8Image
from lib_layerdiffusion.pictures.edits import (
    AROUND,
    CELL,
    CERTAIN,
    DETAIL,
    FOLLOWED,
    OTHER,
    REPLACED,
    ROUNDING,
    SHIFT,
)


def flatten_on_grey(rgba: Uint8Image) -> FloatImage:
    rgb = rgba[..., :3].astype(np.float32) / np.float32(255)
    alpha = rgba[..., 3:].astype(np.float32) / np.float32(255)
    return np.float32(0.5) + (rgb - np.float32(0.5)) * alpha


def pad_colour(rgba: Uint8Image) -> FloatImage:
    alpha = rgba[..., 3:].astype(np.float32) / np.float32(255)
    colour = rgba[..., :3].astype(np.float32) / np.float32(255) * alpha
    levels = [(colour, alpha)]
    while min(colour.shape[:2]) != 1:
        size = int(colour.shape[1] / 1.2), int(colour.shape[0] / 1.2)
        colour = np.asarray(cv2.resize(colour, size, interpolation=cv2.INTER_AREA), np.float32)
        alpha = np.asarray(cv2.resize(alpha, size, interpolation=cv2.INTER_AREA), np.float32)[..., None]
        levels.append((colour, alpha))
    colour, alpha = levels[-1]
    total = np.maximum(alpha.sum((0, 1), keepdims=True), np.float32(1e-8))
    filled: FloatImage = colour.sum((0, 1), keepdims=True) / total
    for colour, alpha in reversed(levels):
        size = colour.shape[1], colour.shape[0]
        below = cv2.resize(filled, size, interpolation=cv2.INTER_LINEAR).reshape(colour.shape)
        filled = np.asarray(colour + below * (1 - alpha), np.float32)
    return filled


def to_uint8(image: FloatImage) -> Uint8Image:
    return (image.astype(np.float32) * np.float32(255)).clip(0, 255).astype(np.uint8)


def checkerboard(height: int, width: int, cell: int = 64) -> FloatImage:
    rows, columns = np.arange(height) // cell, np.arange(width) // cell
    odd = (rows[:, None] + columns[None, :]) % 2
    return np.where(odd, np.float32(0.55), np.float32(0.45))[..., None]


def preview(rgba_01: FloatImage) -> Uint8Image:
    colour, alpha = rgba_01[..., :3], rgba_01[..., 3:]
    board = checkerboard(rgba_01.shape[0], rgba_01.shape[1])
    return to_uint8(np.asarray(colour * alpha + board * (1 - alpha), np.float32))


def carry_edit(rgba: Uint8Image, before: Uint8Image, after: Uint8Image) -> Uint8Image:
    change = np.abs(after.astype(np.int16) - before).max(axis=2, keepdims=True)
    certain = ((change - ROUNDING) / np.float32(CERTAIN - ROUNDING)).clip(0, 1)
    first, second = before.astype(np.float32) - 128, after.astype(np.float32) - 128

    def around(values: FloatImage) -> FloatImage:
        """Means over cells and what is around them, of what certainly changed."""
        height, width = values.shape[:2]
        padded = np.pad(values * certain, [(0, -height % CELL), (0, -width % CELL), (0, 0)])
        cells = padded.reshape(padded.shape[0] // CELL, CELL, padded.shape[1] // CELL, CELL, -1)
        blurred = np.asarray(cv2.blur(np.ascontiguousarray(cells.mean((1, 3))), (AROUND, AROUND)), np.float32)
        return blurred.reshape(*cells.shape[0:3:2], -1)

    count = np.maximum(around(np.ones_like(certain)), np.float32(1e-6))
    mean_before, mean_after = around(first) / count, around(second) / count
    variance = (around(first * first) / count - mean_before**2).sum(2)
    together = (around(first * second) / count - mean_before * mean_after).sum(2)
    shift = np.abs(mean_after - mean_before).max(2)
    everywhere = max(0.0, 2 * float((change > ROUNDING).mean()) - 1)
    same = DETAIL * everywhere * ((OTHER - shift) / (OTHER - SHIFT)).clip(0, 1)
    slope = (together + same) / (variance.clip(0) + same + 1)
    replaced = ((FOLLOWED - slope) / (FOLLOWED - REPLACED)).clip(0, 1).astype(np.float32)
    size = replaced.shape[1] * CELL, replaced.shape[0] * CELL
    replaced = np.asarray(cv2.resize(replaced, size), np.float32)[: change.shape[0], : change.shape[1]]
    own = (rgba[..., :3].astype(np.float32) - before) * (1 - certain * replaced[..., None])
    colour = (after + own).round().clip(0, 255).astype(np.uint8)
    return np.dstack([np.where(change <= ROUNDING, rgba[..., :3], colour), rgba[..., 3]])


def blend(new: Uint8Image, old: Uint8Image, mask: Uint8Image) -> Uint8Image:
    share = mask.astype(np.float32)[..., None] / np.float32(255)
    new_alpha, old_alpha = new[..., 3:] * share, old[..., 3:] * (1 - share)
    alpha = new_alpha + old_alpha
    colour = (new[..., :3] * new_alpha + old[..., :3] * old_alpha) / np.maximum(alpha, np.float32(1e-6))
    mixed = np.concatenate([colour, alpha], axis=2).round().clip(0, 255).astype(np.uint8)
    return np.where(share == 1, new, np.where(share == 0, old, mixed))


PLAIN: dict[str, Callable[..., Any]] = {
    function.__name__: function
    for function in (flatten_on_grey, pad_colour, to_uint8, checkerboard, preview, carry_edit, blend)
}


def soft_disc(side: int) -> Uint8Image:
    """A disc with a soft edge, RGBA: transparent around it, as pictures of one thing are."""
    y, x = np.mgrid[:side, :side]
    alpha = np.clip((0.36 - np.hypot(x / side - 0.5, y / side - 0.5)) * 12, 0, 1) * 255
    return np.stack([x % 256, y % 256, (x + y) % 256, alpha], axis=-1).astype(np.uint8)


def resizes_alone(rgba: Uint8Image) -> None:
    """What no way to pad a picture can do without: each level from the one before, and back."""
    level = rgba.astype(np.float32)
    sizes = [level.shape[1::-1]]
    while min(level.shape[:2]) != 1:
        sizes.append((int(level.shape[1] / 1.2), int(level.shape[0] / 1.2)))
        level = np.asarray(cv2.resize(level, sizes[-1], interpolation=cv2.INTER_AREA), np.float32)
    filled = np.zeros((1, 1, 3), np.float32)
    for size in reversed(sizes):
        filled = np.asarray(cv2.resize(filled, size, interpolation=cv2.INTER_LINEAR), np.float32)


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--size", type=int, default=2048, help="side of the picture in pixels")
    chosen = parse(made)
    cv2.setNumThreads(chosen.threads or 1)
    side = chosen.size
    rgba = soft_disc(side)
    opaque = np.dstack([rgba[..., :3], np.full((side, side), 255, np.uint8)])
    as_float = np.asarray(rgba / np.float32(255), np.float32)
    before = np.ascontiguousarray(rgba[..., :3])
    painted = before.copy()
    painted[side // 4 : side // 2, side // 4 : side // 2] = 200
    mask = rgba[..., 3].copy()
    report = Report("pictures", settings={"size": side, "threads of OpenCV": cv2.getNumThreads()})
    cases: dict[str, tuple[str, tuple[Any, ...]]] = {
        "colour padding": ("pad_colour", (rgba,)),
        "colour padding, opaque picture": ("pad_colour", (opaque,)),
        "PNG quantisation": ("to_uint8", (as_float,)),
        "preview": ("preview", (as_float,)),
        "checkerboard": ("checkerboard", (side, side)),
        "condition picture on grey": ("flatten_on_grey", (rgba,)),
        "inpainting blend": ("blend", (rgba, opaque, mask)),
        "edit by another extension": ("carry_edit", (rgba, before, painted)),
        "no edit by another extension": ("carry_edit", (rgba, before, before)),
    }
    for what, (name, arguments) in cases.items():
        ours, plain = getattr(edits if name == "carry_edit" else arithmetic, name), PLAIN[name]
        difference = np.abs(np.subtract(ours(*arguments), plain(*arguments), dtype=np.float32)).max()
        runs = {"ours": lambda: ours(*arguments), "plain": lambda: plain(*arguments)}  # noqa: B023
        times = paired(chosen.rounds, runs)
        with peak_memory() as ours_peak:
            runs["ours"]()
        with peak_memory() as plain_peak:
            runs["plain"]()
        report.compare(
            what, times["ours"], times["plain"], ours_peak, plain_peak, difference=float(difference)
        )
    floor = paired(chosen.rounds, {"floor": lambda: resizes_alone(rgba)})["floor"]
    report.figure("floor of colour padding, its resizes alone", seconds=statistics.median(floor))
    report.write(chosen.json)


if __name__ == "__main__":
    main()
