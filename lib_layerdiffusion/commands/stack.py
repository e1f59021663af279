"""python -m lib_layerdiffusion stack: pictures as the layers of one PSD or OpenRaster file."""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from lib_layerdiffusion.errors import BadPicture, BadSetting, LayerDiffuseError
from lib_layerdiffusion.pictures.arithmetic import Uint8Image
from lib_layerdiffusion.pictures.layer_files import WRITERS
from lib_layerdiffusion.pictures.reading import open_picture, to_rgba
from lib_layerdiffusion.pictures.stack import Layer, Stack

GOOD, WRONG = 0, 2

EPILOG = """\
Layers are cut to what shows of them. The canvas is that of the layers; with --at it reaches from the
corner to the end of the last one.

exit status: 0 written, 2 not: a sentence says why
"""


def layered(paths: Sequence[Path], names: Sequence[str], places: Sequence[tuple[int, int]]) -> Stack:
    """Return the picture files as a stack, the first one at the bottom.

    `names` and `places` (x, y of the top left corner) are empty or have one for each; a name left out is the
    file's, a place left out the corner. Raises BadSetting, BadPicture.
    """
    for given, what in ((names, "--name"), (places, "--at")):
        if given and len(given) != len(paths):
            raise BadSetting(
                f"There are {len(paths)} layers and {len(given)} {what}; give one for each, or none."
            )
    pictures = [_read(path) for path in paths]
    sizes = {picture.shape for picture in pictures}
    if len(sizes) > 1 and not places:
        first, second = ("{1}x{0}".format(*shape) for shape in sorted(sizes)[:2])
        raise BadSetting(
            f"The layers have different sizes ({first}, {second}); say where each one lies: --at x,y."
        )
    layers = [
        Layer(name, picture, left, top)
        for name, picture, (left, top) in zip(
            names or [path.stem for path in paths], pictures, places or [(0, 0)] * len(paths), strict=True
        )
    ]
    width = max(layer.left + layer.width for layer in layers)
    height = max(layer.top + layer.height for layer in layers)
    if min(width, height) < 1:
        raise BadSetting("Every layer lies outside the canvas, left of it or above; give other places.")
    return Stack(width, height, layers).cropped()


def _read(path: Path) -> Uint8Image:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise BadPicture(f"{path} cannot be read: {error.strerror or error}.") from error
    try:
        with warnings.catch_warnings():
            # large, not dangerous: it is the user's own
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            return np.array(to_rgba(open_picture(raw), str(path)))
    except Image.DecompressionBombError as error:
        raise BadPicture(f"{path} is too large: {error}.") from error
    except Image.UnidentifiedImageError as error:
        raise BadPicture(f"{path} is no picture file that can be read; give PNG, WebP or TIFF.") from error


def write(path: Path, data: bytes) -> None:
    """Write a file as a whole or not at all. Raises BadSetting."""
    part = path.with_name(path.name + ".part")
    try:
        part.write_bytes(data)
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise BadSetting(f"{path} cannot be written: {error.strerror or error}.") from error


def _place(text: str) -> tuple[int, int]:
    x, _, y = text.partition(",")
    return int(x), int(y)


def main(arguments: Sequence[str]) -> int:
    """Run the command; the result is the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m lib_layerdiffusion stack",
        description="Put pictures over each other as the layers of one PSD or OpenRaster file.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("out", type=Path, metavar="OUT", help="the file to write: .psd or .ora")
    parser.add_argument("layers", type=Path, nargs="+", metavar="LAYER", help="picture files, bottom first")
    parser.add_argument("--name", action="append", default=[], help="a layer's name; one for each, or none")
    parser.add_argument(
        "--at", action="append", default=[], type=_place, metavar="X,Y", help="where each lies, as --at=X,Y"
    )
    parser.add_argument("--force", action="store_true", help="write over a file that is there")
    chosen = parser.parse_args(arguments)
    try:
        writer = WRITERS.get(chosen.out.suffix.lower().removeprefix("."))
        if writer is None:
            raise BadSetting(f"{chosen.out} must end in .psd or .ora.")
        if os.path.lexists(chosen.out) and not chosen.force:
            raise BadSetting(
                f"{chosen.out} is there already; give another name, or --force to write over it."
            )
        write(chosen.out, writer(layered(chosen.layers, chosen.name, chosen.at)))
    except LayerDiffuseError as error:
        print(error, file=sys.stderr)
        return WRONG
    return GOOD
