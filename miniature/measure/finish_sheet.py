"""What each step of the finish does, before and after: `python -m miniature.measure.finish_sheet FILE.png`.

One step a row, named at its left; the picture before and after it, over black, white and a photo. The
pictures are held-out emoji with what the step is for put in.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from lib_layerdiffusion.pictures.additions import Outline, Shadow
from lib_layerdiffusion.pictures.arithmetic import FloatImage, Uint8Image
from lib_layerdiffusion.pictures.atlas import scaled
from lib_layerdiffusion.pictures.finishing import Steps, finish, premultiplied
from lib_layerdiffusion.pictures.geometry import Canvas, put_on_canvas
from miniature.measure.quality import held_out

SIDE = 176
PHOTO = Path(__file__).resolve().parents[1] / "pictures" / "lake.png"
LABEL = 150
GAP = 6


def mixed(rgba: Uint8Image, level: int = 255) -> Uint8Image:
    """Colours as they are over a background, which is what a decontaminated picture must not show."""
    share = rgba[..., 3:] / np.float32(255)
    colours = np.rint(rgba[..., :3] * share + level * (1 - share))
    return np.dstack([colours.astype(np.uint8), rgba[..., 3]])


def fringed(rgba: Uint8Image) -> Uint8Image:
    """With a soft edge, whose colours are mixed with white."""
    return mixed(finish(rgba, Steps(feather=6)))


def _disc(rgba: Uint8Image, x: float, y: float, radius: float) -> Uint8Image:
    rows, columns = np.mgrid[: rgba.shape[0], : rgba.shape[1]]
    inside = np.clip(radius + 0.5 - np.hypot(columns - x * rgba.shape[1], rows - y * rgba.shape[0]), 0, 1)
    return np.rint(inside * 255).astype(np.uint8)


def with_veil(rgba: Uint8Image) -> Uint8Image:
    result = rgba.copy()
    result[..., 3] = np.maximum(result[..., 3], 40)
    result[rgba[..., 3] == 0, :3] = 200
    return result


def with_specks(rgba: Uint8Image) -> Uint8Image:
    result = rgba.copy()
    for x, y in ((0.06, 0.1), (0.93, 0.07), (0.05, 0.9), (0.95, 0.93), (0.9, 0.5)):
        result[..., 3] = np.maximum(result[..., 3], _disc(rgba, x, y, 3))
        result[_disc(rgba, x, y, 4) > 0, :3] = (230, 90, 160)
    return result


def with_holes(rgba: Uint8Image) -> Uint8Image:
    result = rgba.copy()
    for x, y, radius in ((0.45, 0.45, 8), (0.6, 0.62, 5), (0.4, 0.68, 4)):
        hole = _disc(rgba, x, y, radius)
        result[..., 3] = np.minimum(result[..., 3], 255 - hole)
        result[hole == 255, :3] = 127
    return result


def faint(rgba: Uint8Image) -> Uint8Image:
    result = rgba.copy()
    result[..., 3] = result[..., 3] * 0.82
    return result


def black_below(rgba: Uint8Image) -> Uint8Image:
    result = rgba.copy()
    result[result[..., 3] == 0, :3] = 0
    return result


def shrunk_straight(rgba: Uint8Image) -> Uint8Image:
    """Made four times smaller without regard to alpha, as engines do, and larger again to look at."""
    size = rgba.shape[1] // 4, rgba.shape[0] // 4
    small = cv2.resize(rgba, size, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, rgba.shape[1::-1], interpolation=cv2.INTER_NEAREST), np.uint8)


def framed(rgba: Uint8Image) -> Uint8Image:
    """With a line where the picture ends."""
    result = rgba.copy()
    for side in (result[:2], result[-2:], result[:, :2], result[:, -2:]):
        side[...] = (255, 0, 160, 255)
    return result


def as_it_is(rgba: Uint8Image) -> Uint8Image:
    return rgba


Change = Callable[[Uint8Image], Uint8Image]
ROWS: tuple[tuple[str, str, Change, Steps, Change], ...] = (
    ("clean veil", "bird", with_veil, Steps(veil=48), as_it_is),
    ("alpha curve", "cupcake", faint, Steps(white=205), as_it_is),
    ("remove specks", "elephant", with_specks, Steps(specks=0.01), as_it_is),
    ("fill holes", "elephant", with_holes, Steps(holes=0.03), as_it_is),
    ("choke 2 px", "swan", as_it_is, Steps(choke=2), as_it_is),
    ("feather 6 px", "taxi", as_it_is, Steps(feather=6), as_it_is),
    ("decontaminate", "monkey", fringed, Steps(decontaminate=1), as_it_is),
    ("bleed, then\n4 x smaller", "feather", black_below, Steps(bleed=True), shrunk_straight),
    ("trim", "bird", as_it_is, Steps(trim=2), framed),
    (
        "canvas, bottom",
        "cupcake",
        as_it_is,
        Steps(trim=0, canvas=Canvas(SIDE, SIDE), anchor="bottom"),
        framed,
    ),
    ("outline", "monkey", as_it_is, Steps(outline=Outline(5, (255, 255, 255, 255))), as_it_is),
    ("shadow", "monkey", as_it_is, Steps(shadow=Shadow(6, 8, 8, (0, 0, 0, 160))), as_it_is),
)


def backgrounds() -> list[FloatImage]:
    photo = Image.open(PHOTO).convert("RGB").resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    plain = np.ones((SIDE, SIDE, 3), np.float32)
    return [np.zeros_like(plain), 255 * plain, np.asarray(photo, np.float32)]


def fitted(rgba: Uint8Image) -> Uint8Image:
    """On a field of the sheet, smaller if it has to be."""
    largest = max(rgba.shape[:2])
    return put_on_canvas(scaled(rgba, SIDE / largest) if largest > SIDE else rgba, Canvas(SIDE, SIDE))


def row(name: str, picture: Uint8Image, before: Change, steps: Steps, seen: Change) -> np.ndarray:
    given = before(picture)
    fields = []
    for one in (given, finish(given, steps)):
        field = fitted(seen(one))
        clear = 1 - field[..., 3:] / np.float32(255)
        front = premultiplied(field)[..., :3].astype(np.float32)
        fields += [np.asarray(front + behind * clear, np.float32) for behind in backgrounds()]
    line = [np.full((SIDE, LABEL, 3), 245, np.float32)]
    for number, drawn in enumerate(fields):
        line += [np.full((SIDE, 3 * GAP if number == 3 else GAP, 3), 245, np.float32), drawn]
    whole = np.ascontiguousarray(np.concatenate(line, axis=1))
    for number, text in enumerate(name.split("\n")):
        cv2.putText(
            whole,
            text,
            (6, SIDE // 2 + 20 * number),
            cv2.FONT_HERSHEY_SIMPLEX,
            0.52,
            (30, 30, 30),
            1,
            cv2.LINE_AA,
        )
    return np.concatenate([whole, np.full((GAP, whole.shape[1], 3), 245, np.float32)])


def main(path: Path) -> None:
    pictures = {
        name: scaled(put_on_canvas(one, Canvas(152, 152)), SIDE / 152) for name, one in held_out().items()
    }
    rows = [row(name, pictures[which], before, steps, seen) for name, which, before, steps, seen in ROWS]
    head = np.full((28, rows[0].shape[1], 3), 245, np.float32)
    for text, left in (("before", LABEL + 8), ("after", LABEL + 8 + 3 * (SIDE + GAP) + 2 * GAP)):
        cv2.putText(head, text, (left, 20), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (30, 30, 30), 1, cv2.LINE_AA)
    sheet = np.concatenate([head, *rows]).round().clip(0, 255).astype(np.uint8)
    image = Image.fromarray(sheet).quantize(256, dither=Image.Dither.FLOYDSTEINBERG)
    image.save(path, optimize=True)
    print(f"{path}  {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
