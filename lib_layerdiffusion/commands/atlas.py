"""python -m lib_layerdiffusion atlas: transparent pictures as one, with a description for game engines."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lib_layerdiffusion.commands.picture_files import encode, found, read
from lib_layerdiffusion.commands.stack import write
from lib_layerdiffusion.errors import BadSetting, GenerationFailed, LayerDiffuseError
from lib_layerdiffusion.pictures.arithmetic import Uint8Image
from lib_layerdiffusion.pictures.atlas import make_atlas, read_atlas, scaled
from lib_layerdiffusion.pictures.bleed import bleed
from lib_layerdiffusion.pictures.finishing import premultiplied
from lib_layerdiffusion.pictures.geometry import placed, visible_box

GOOD, WRONG = 0, 2

EPILOG = """\
Beside OUT.png stands OUT.json, the "hash" of TexturePacker; with --scale 1,0.5 also OUT@0.5x.png and .json.
Sprites are cut to what is visible in them. What was written is read again and compared before it counts.

exit status: 0 written, 2 not: a sentence says why
"""


def named(files: Sequence[Path]) -> dict[str, Uint8Image]:
    """Return the pictures by the names that their sprites get. Raises BadSetting, BadPicture."""
    names = [path.name for path in files]
    for name in names:
        if names.count(name) > 1:
            raise BadSetting(f"Two of the files are called {name}; sprites are known by their names.")
    return {path.name: read(path)[0] for path in files}


def check(sheet: Uint8Image, text: str, pictures: dict[str, Uint8Image]) -> None:
    """Read an atlas back. Raises GenerationFailed where a picture is not what it was, byte for byte."""
    for name, found_ in read_atlas(sheet, json.loads(text)).items():
        given = pictures[name]
        box = visible_box(given)
        same = np.array_equal(found_[..., 3], given[..., 3])
        if not same or (box is not None and not np.array_equal(placed(found_, box), placed(given, box))):
            raise GenerationFailed(
                f"{name} did not come back from the atlas as it went in; nothing is written."
            )


def main(arguments: Sequence[str]) -> int:
    """Run the command; the result is the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m lib_layerdiffusion atlas",
        description="Pack transparent pictures into one, with a description for game engines.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("out", type=Path, metavar="OUT", help="the picture to write: .png")
    parser.add_argument("files", type=Path, nargs="+", metavar="IN", help="picture files, or folders of them")
    parser.add_argument("--max", type=int, default=4096, metavar="PX", help="what a side may have")
    parser.add_argument("--padding", type=int, default=2, metavar="PX", help="pixels between sprites")
    parser.add_argument(
        "--extrude", type=int, default=1, metavar="PX", help="pixels of their edges around them"
    )
    parser.add_argument(
        "--scale", default="1", metavar="S,S", help="factors from above 0 to 4, one atlas for each"
    )
    parser.add_argument(
        "--frames", action="store_true", help="cut all to one box: an animation does not jump"
    )
    parser.add_argument("--bleed", action="store_true", help="spread colours under the transparency")
    parser.add_argument("--premultiply", action="store_true", help="colours times alpha")
    parser.add_argument("--force", action="store_true", help="write over files that are there")
    chosen = parser.parse_args(arguments)
    try:
        _write_all(chosen)
    except LayerDiffuseError as error:
        print(error, file=sys.stderr)
        return WRONG
    return GOOD


def _write_all(chosen: argparse.Namespace) -> None:
    if chosen.out.suffix.lower() != ".png":
        raise BadSetting(f"{chosen.out} must end in .png.")
    for name, low, high in (("max", 1, 16384), ("padding", 0, 256), ("extrude", 0, 64)):
        if not low <= getattr(chosen, name) <= high:
            raise BadSetting(f"--{name} is {getattr(chosen, name)}; it must be from {low} to {high}.")
    scales = _scales(chosen.scale)
    outs = {
        scale: chosen.out if scale == 1 else chosen.out.with_stem(f"{chosen.out.stem}@{scale:g}x")
        for scale in scales
    }
    for out in outs.values():
        for path in (out, out.with_suffix(".json")):
            if os.path.lexists(path) and not chosen.force:
                raise BadSetting(f"{path} is there already; give another name, or --force to write over it.")
    given = named(found(chosen.files))
    files: dict[Path, bytes] = {}
    for scale, out in outs.items():
        pictures = {name: scaled(picture, scale) for name, picture in given.items()}
        if chosen.bleed:
            pictures = {name: bleed(picture) for name, picture in pictures.items()}
        if chosen.premultiply:
            pictures = {name: premultiplied(picture) for name, picture in pictures.items()}
        sheet, description = make_atlas(
            pictures, chosen.max, chosen.padding, chosen.extrude, chosen.frames, scale, out.name
        )
        text = json.dumps(description, indent=1, ensure_ascii=False)
        check(sheet, text, pictures)
        files[out] = encode(sheet, ".png")
        files[out.with_suffix(".json")] = text.encode()
    for path, data in files.items():
        write(path, data)


def _scales(text: str) -> list[float]:
    try:
        scales = [float(part) for part in text.split(",")]
    except ValueError:
        scales = []
    if not scales or not all(0 < scale <= 4 for scale in scales):
        raise BadSetting(f'--scale is "{text}"; it must be numbers above 0, up to 4, with commas between.')
    return list(dict.fromkeys(scales))
