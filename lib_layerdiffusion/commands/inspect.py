"""python -m lib_layerdiffusion inspect: what is right and wrong with the transparency of picture files."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lib_layerdiffusion.commands.picture_files import found, read_any
from lib_layerdiffusion.errors import LayerDiffuseError
from lib_layerdiffusion.pictures.measures import measure
from lib_layerdiffusion.pictures.verdict import CLEAN, Numbers, Verdict, as_json, verdict

ALL_CLEAN, SOME_NOT, UNREADABLE, INTERRUPTED = 0, 1, 2, 130

EPILOG = """\
A trimmed picture may be called weak or failed: its subject covers the border. Pictures that LayerDiffuse
makes are judged before they are trimmed; their infotext has it as layerdiffusion_verdict.

exit status: 0 all are clean, 1 some are not, 2 some could not be read, 130 interrupted
"""


class Inspected(NamedTuple):
    """One file. `numbers` and `verdict` are None where it could not be read, for the reason in `problem`."""

    file: Path
    numbers: Numbers | None
    verdict: Verdict | None
    problem: str = ""

    def line(self) -> str:
        if self.verdict is None:
            return self.problem
        return f"{self.file}: {self.verdict.text}"

    def told(self) -> dict[str, Any]:
        """The object of this file in the JSON list."""
        if self.numbers is None or self.verdict is None:
            return {"file": str(self.file), "verdict": None, "reasons": [self.problem], "remedies": []}
        return {"file": str(self.file), **as_json(self.verdict, self.numbers)}


def inspected(files: Sequence[Path]) -> Iterator[Inspected]:
    """Look at files one after the other."""
    for path in files:
        try:
            numbers = measure(read_any(path))
        except LayerDiffuseError as error:
            text = str(error)
            yield Inspected(path, None, None, text if str(path) in text else f"{path}: {text}")
        except MemoryError:
            yield Inspected(
                path, None, None, f"{path} is too large for the memory of this machine; make it smaller."
            )
        else:
            yield Inspected(path, numbers, verdict(numbers))


def main(arguments: Sequence[str]) -> int:
    """Run the command; the result is the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m lib_layerdiffusion inspect",
        description="Say of each picture whether it is a clean subject on nothing, and what is wrong if not.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "files", type=Path, nargs="+", metavar="FILE", help="picture files, or folders of them"
    )
    parser.add_argument("--json", action="store_true", help="a JSON list in place of a line for each")
    chosen = parser.parse_args(arguments)
    made: list[Inspected] = []
    try:
        for one in inspected(found(chosen.files)):
            made.append(one)
            if not chosen.json:
                print(one.line(), file=sys.stdout if one.verdict else sys.stderr, flush=True)
    except LayerDiffuseError as error:
        print(error, file=sys.stderr)
        return UNREADABLE
    except KeyboardInterrupt:
        return INTERRUPTED
    if chosen.json:
        print(json.dumps([one.told() for one in made], indent=1, ensure_ascii=False))
    if any(one.verdict is None for one in made):
        return UNREADABLE
    return ALL_CLEAN if all(one.verdict and one.verdict.word == CLEAN for one in made) else SOME_NOT
