"""python -m lib_layerdiffusion: the weight files without a WebUI: list, fetch, verify, place them."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from lib_layerdiffusion.errors import BadSetting, DownloadFailed, Interrupted, LayerDiffuseError, WeightsError
from lib_layerdiffusion.files.source import Source, address
from lib_layerdiffusion.files.store import WeightStore
from lib_layerdiffusion.methods import FAMILIES, FOLDER, METHODS, RELEASED_FILES, WEIGHT_FILES, find_method
from lib_layerdiffusion.weight_files import WeightFile

GOOD, MISSING, USAGE, WRONG, INTERRUPTED = 0, 1, 2, 3, 130

EPILOG = """\
doctor [WEBUI]: report of the WebUI in a folder, or of the one that this lies in: what a bug report needs
stack OUT LAYER...: pictures as the layers of one PSD or OpenRaster file
finish IN... --out FOLDER: clean, cut and decorate transparent pictures; atlas OUT IN...: pack them into one
inspect FILE...: whether pictures are a clean subject on nothing
try [--url ADDRESS]: tries a running WebUI through its web API, and measures it; try --help says more

names: a file (vae_transparent_decoder), a method as in the panel, sdxl, sd15, anima, or all (the default),
which are those of sdxl and sd15

exit status: 0 all of them are there and good, 1 some are missing or could not be fetched, 2 the command line
is wrong, 3 some are damaged or hold something else, 130 interrupted (what was fetched is kept)
"""


def select(names: Sequence[str]) -> list[WeightFile]:
    """Return the files that the names mean, in the order of the table. Raises BadSetting."""
    chosen: set[WeightFile] = set()
    for name in names or ["all"]:
        chosen |= set(_named(name))
    return [file for file in WEIGHT_FILES if file in chosen]


def _named(name: str) -> Sequence[WeightFile]:
    if name == "all":
        return RELEASED_FILES
    for file in WEIGHT_FILES:
        if name in (file.name, file.filename):
            return [file]
    for family in FAMILIES:
        if name.lower() in (family.key, family.title.lower()):
            own = [method.weights for method in METHODS if method.family is family]
            return list(dict.fromkeys([*own, family.decoder, family.encoder]))
    try:
        method = find_method(name)
    except BadSetting:
        known = ", ".join(file.name for file in WEIGHT_FILES)
        raise BadSetting(
            f'There is no "{name}". Name a method, sdxl, sd15, anima, all, or one of: {known}.'
        ) from None
    return method.files


def default_folder() -> Path:
    """Return `models/layer_model` of the WebUI whose `extensions` folder this package lies in.

    Raises BadSetting where it lies elsewhere.
    """
    # not resolved: an extension may be a link into the WebUI
    extension = Path(__file__).absolute().parents[1]
    if extension.parent.name == "extensions":
        return extension.parents[1] / "models" / FOLDER
    raise BadSetting(
        "This extension does not lie in the extensions folder of a WebUI; say where the files are: --folder "
        f".../models/{FOLDER}"
    )


def state(store: WeightStore, file: WeightFile) -> tuple[int, str]:
    """Return an exit status and a word or sentence: missing, an amount of bytes that is good, or a problem.

    Reads no more than the header.
    """
    from lib_layerdiffusion.files import layout

    try:
        if not store.has(file):
            return MISSING, "missing"
        layout.check(file, store.path(file))
    except WeightsError as error:
        return WRONG, str(error)
    size = store.path(file).stat().st_size
    return GOOD, "" if size in file.sizes else "of another size than the released one"


def list_files(store: WeightStore, files: Sequence[WeightFile]) -> int:
    """Print a line for each file. Returns the exit status."""
    worst = GOOD
    for file in files:
        status, remark = state(store, file)
        worst = max(worst, status)
        size = store.path(file).stat().st_size if status == GOOD else file.size
        mark = {GOOD: "ok", MISSING: "--", WRONG: "!!"}[status]
        print(f"{mark}  {size / 1e6:8.1f} MB  {file.filename}  {remark}".rstrip())
    print(f"in {store.folder}")
    return worst


def fetch_files(store: WeightStore, files: Sequence[WeightFile]) -> int:
    """Fetch what is missing and verify all. Returns the exit status."""
    return _each(files, store.ensure)


def verify_files(store: WeightStore, files: Sequence[WeightFile]) -> int:
    """Read every file whole. Returns the exit status."""

    def verify(file: WeightFile) -> None:
        if not store.has(file):
            raise DownloadFailed(f"{file.filename} is missing in {store.folder}.")
        store.verify(file)

    return _each(files, verify)


def _each(files: Sequence[WeightFile], action: Callable[[WeightFile], object]) -> int:
    worst = GOOD
    for file in files:
        try:
            action(file)
        except DownloadFailed as error:
            worst = max(worst, MISSING)
            print(f"--  {error}")
        except WeightsError as error:
            worst = max(worst, WRONG)
            print(f"!!  {error}")
        else:
            print(f"ok  {file.filename}")
    return worst


def explain_files(store: WeightStore, files: Sequence[WeightFile]) -> int:
    """Print what a machine without a line needs: where each missing file is, and where it goes."""
    missing = [file for file in files if not store.has(file)]
    for file in missing:
        print(address(file, store.source))
    if not missing:
        print(f"Nothing is missing in {store.folder}.")
        return GOOD
    total = sum(file.size for file in missing) / 1e6
    print(
        f"Download these {len(missing)} files ({total:.0f} MB) on a machine that can, keep their names, and "
        f"put them into\n{store.folder}"
    )
    return MISSING


COMMANDS = {
    "list": (list_files, "show every file and its state"),
    "fetch": (fetch_files, "download what is missing, go on with what was broken off, verify all"),
    "verify": (verify_files, "read every file whole: layout, numbers, published hash"),
    "where": (explain_files, "print what to download on another machine, and where to put it"),
}


def main(arguments: Sequence[str]) -> int:
    """Run one command; the result is the exit status. Prints to standard output, problems too."""
    parser = argparse.ArgumentParser(
        prog="python -m lib_layerdiffusion",
        description="The weight files of LayerDiffuse.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "command", choices=COMMANDS, help="; ".join(f"{k}: {v[1]}" for k, v in COMMANDS.items())
    )
    parser.add_argument("names", nargs="*", metavar="name", help="which files; see below")
    parser.add_argument("--folder", type=Path, help=f"the folder with the files, a WebUI's models/{FOLDER}")
    parser.add_argument("--endpoint", default="", help="address of a mirror of huggingface.co")
    chosen = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        store = WeightStore(chosen.folder or default_folder(), Source(chosen.endpoint))
        return COMMANDS[chosen.command][0](store, select(chosen.names))
    except BadSetting as error:
        parser.print_usage(sys.stderr)
        print(error, file=sys.stderr)
        return USAGE
    except (KeyboardInterrupt, Interrupted):
        print("Interrupted; what was fetched is kept, and the same command goes on from there.")
        return INTERRUPTED
    except LayerDiffuseError as error:
        print(f"!!  {error}")
        return WRONG
