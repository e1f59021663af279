"""python -m lib_layerdiffusion finish: clean, cut and decorate transparent picture files."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from lib_layerdiffusion.commands.picture_files import SUFFIXES, encode, found, read
from lib_layerdiffusion.commands.stack import write
from lib_layerdiffusion.errors import BadPicture, BadSetting, LayerDiffuseError
from lib_layerdiffusion.pictures.additions import shadow_apart
from lib_layerdiffusion.pictures.arithmetic import Uint8Image
from lib_layerdiffusion.pictures.finishing import Steps, cleaned, completed, without_shadow
from lib_layerdiffusion.pictures.geometry import Box, common_box, visible_box
from lib_layerdiffusion.request.finish import VALUES, Value, steps_of

GOOD, SOME_WRONG, WRONG, INTERRUPTED = 0, 1, 2, 130
MANY = 4
"""Files from which on a progress bar tells how far it is."""

EPILOG = """\
The steps are done in this order: clean veil, alpha curve, specks, holes, choke, feather; decontaminate,
bleed; trim, canvas; outline, shadow; premultiply. Names, texts such as the infotext, and ICC profiles are
kept. Values that begin with a minus need a sign of equality: --shadow=-4,6,10,#00000080

exit status: 0 all are written, 1 some are not: a sentence says why, 2 the command line is wrong or nothing
could be written, 130 interrupted
"""
METAVARS = {
    "decontaminate": "S",
    "clean_veil": "N",
    "alpha_black": "N",
    "alpha_white": "N",
    "remove_specks": "SHARE",
    "fill_holes": "SHARE",
    "choke": "PX",
    "feather": "PX",
    "canvas": "WxH",
    "anchor": "NAME",
    "outline": "PX,#RRGGBB",
    "shadow": "DX,DY,BLUR,#RRGGBBAA",
}


def add_steps(parser: argparse.ArgumentParser) -> None:
    """Add an option for each value of `request.finish`."""
    for value in VALUES:
        option = "--" + value.name.replace("_", "-")
        if value.name == "trim":
            parser.add_argument(
                "--trim", metavar="MARGIN", help="cut to what is visible, with so many pixels around"
            )
        elif value.name == "trim_margin":
            continue
        elif isinstance(value.default, bool):
            parser.add_argument(option, action="store_true", help=value.info)
        else:
            parser.add_argument(option, metavar=METAVARS[value.name], help=_help(value))


def _help(value: Value) -> str:
    return f"{value.info} ({value.low:g} to {value.high:g})" if value.is_number else value.info


def chosen_steps(chosen: argparse.Namespace) -> Steps:
    """Return what the options mean. Raises BadSetting."""
    given: dict[str, Any] = {value.name: getattr(chosen, value.name, None) for value in VALUES}
    given |= {"trim": chosen.trim is not None, "trim_margin": chosen.trim}
    return steps_of(given)


def targets(files: Sequence[Path], folder: Path, force: bool) -> list[Path]:
    """Return where each file goes. Raises BadSetting before anything is written over that should stay."""
    written = [folder / _named(path) for path in files]
    for path, target in zip(files, written, strict=True):
        if written.count(target) > 1:
            raise BadSetting(
                f"Two of the files would be written to {target}; finish them one after the other."
            )
        if target.exists() and not force:
            what = "is the picture itself" if target.resolve() == path.resolve() else "is there already"
            raise BadSetting(f"{target} {what}; give another folder, or --force to write over it.")
    return written


def _named(path: Path) -> str:
    return path.name if path.suffix.lower() in SUFFIXES else f"{path.stem}.png"


def finish_files(
    files: Sequence[Path], written: Sequence[Path], steps: Steps, one_box: bool, apart: bool
) -> Iterator[str]:
    """Finish files one after the other; yields "" for each, or a sentence where it could not be done."""
    box = _common_box(files, steps) if one_box else None
    for path, target in zip(files, written, strict=True):
        try:
            rgba, original = read(path)
            rgba = cleaned(rgba, steps)
            if apart and steps.shadow is not None:
                rgba = completed(rgba, without_shadow(steps), box)
                rgba, layer = shadow_apart(rgba, steps.shadow, grow=steps.canvas is None)
                write(target.with_stem(f"{target.stem}-shadow"), encode(layer, target.suffix.lower()))
            else:
                rgba = completed(rgba, steps, box)
            write(target, encode(rgba, target.suffix.lower(), original))
        except LayerDiffuseError as error:
            yield str(error) if str(path) in str(error) else f"{path}: {error}"
        except MemoryError:
            yield f"{path} is too large for the memory of this machine; make it smaller."
        else:
            yield ""


def _common_box(files: Sequence[Path], steps: Steps) -> Box | None:
    boxes, sizes = [], set()
    for path in files:
        rgba: Uint8Image = cleaned(read(path)[0], steps)
        boxes.append(visible_box(rgba))
        sizes.add(rgba.shape[:2])
    if len(sizes) > 1:
        first, second = ("{1}x{0}".format(*size) for size in sorted(sizes)[:2])
        raise BadPicture(f"Pictures that share one box have one size, and these have {first} and {second}.")
    return common_box(boxes)


def main(arguments: Sequence[str]) -> int:
    """Run the command; the result is the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m lib_layerdiffusion finish",
        description="Clean, cut and decorate transparent pictures.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("files", type=Path, nargs="+", metavar="IN", help="picture files, or folders of them")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where they are written")
    add_steps(parser)
    parser.add_argument(
        "--one-box", action="store_true", help="trim all to one box, so that frames do not jump"
    )
    parser.add_argument(
        "--shadow-apart", action="store_true", help="write the shadow to NAME-shadow beside it"
    )
    parser.add_argument("--force", action="store_true", help="write over files that are there")
    chosen = parser.parse_args(arguments)
    try:
        steps = chosen_steps(chosen)
        files = found(chosen.files)
        written = targets(files, chosen.out, chosen.force)
        try:
            chosen.out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BadSetting(f"{chosen.out} cannot be made: {error.strerror or error}.") from error
        done = finish_files(files, written, steps, chosen.one_box, chosen.shadow_apart)
        bar = tqdm(done, total=len(files), unit="picture", disable=len(files) < MANY)
        said = [sentence for sentence in bar if sentence]
    except LayerDiffuseError as error:
        print(error, file=sys.stderr)
        return WRONG
    except KeyboardInterrupt:
        print("Interrupted; what was written is whole.", file=sys.stderr)
        return INTERRUPTED
    for sentence in said:
        print(sentence, file=sys.stderr)
    return SOME_WRONG if said else GOOD
