"""python -m lib_layerdiffusion try: drives a running WebUI, says what is right there, and how fast it is."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lib_layerdiffusion.errors import BadSetting
from lib_layerdiffusion.methods import FAMILIES, METHODS, Family, Method, find_method
from lib_layerdiffusion.trial import connection, report
from lib_layerdiffusion.trial.cases import NOTE, RIGHT, WRONG, Findings, Outcome, Trial
from lib_layerdiffusion.trial.client import AUTH, Client, Refused, Unusable
from lib_layerdiffusion.trial.jobs import Failed, Jobs
from lib_layerdiffusion.weight_files import WeightFile

ALL_RIGHT, SOMETHING_WRONG, COULD_NOT_RUN, INTERRUPTED = 0, 1, 2, 130
LEAST_SIDE, LARGEST_SIDE = 64, 4096
KEYS = tuple(family.key for family in FAMILIES)
SIDES = ", ".join(f"{family.side} for {family.title}" for family in FAMILIES)
TITLES = " or ".join([", ".join(family.title for family in FAMILIES[:-1]), FAMILIES[-1].title])

EPILOG = f"""\
names of methods: as in the panel, {", ".join(KEYS)}, or a weight file ({METHODS[0].weights.name});
by default those of the family of the selected checkpoint whose files are there

user and password of --api-auth: --auth user:password, or the environment variable {AUTH}

exit status: 0 all right, 1 something is wrong, 2 it could not run, 130 interrupted
"""


def methods_named(names: Sequence[str]) -> list[Method]:
    """Return the methods that are meant, in the order of the table. Raises BadSetting."""
    chosen: set[str] = set()
    for name in names:
        family = next((one for one in FAMILIES if name.lower() in (one.key, one.title.lower())), None)
        if family is not None:
            chosen |= {method.label for method in METHODS if method.family is family}
        else:
            by_file = [method for method in METHODS if name == method.weights.name]
            method = (by_file or [find_method(name)])[0]
            if not method.files:
                raise BadSetting(f'"{method.label}" needs no file, and is not tried; name another.')
            chosen.add(method.label)
    return [method for method in METHODS if method.label in chosen]


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="python -m lib_layerdiffusion try",
        description="Try a running WebUI through its web API: files, round trip, every method, times.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--url", default="http://127.0.0.1:7860", help="the WebUI's address (%(default)s)")
    made.add_argument("--methods", nargs="+", default=[], metavar="NAME", help="which methods; see below")
    made.add_argument(
        "--checkpoint",
        action="append",
        default=[],
        metavar="NAME",
        help="select this one meanwhile; once for each family",
    )
    made.add_argument("--size", type=int, help=f"side of the pictures ({SIDES})")
    made.add_argument("--steps", type=int, default=8, help="steps of a generation (%(default)s)")
    made.add_argument("--repeats", type=int, default=3, help="runs that a median is of (%(default)s)")
    made.add_argument("--no-times", action="store_true", help="leave the measurements of time out")
    made.add_argument(
        "--fetch", action="store_true", help="let the WebUI fetch weight files that are missing"
    )
    made.add_argument(
        "--report",
        type=Path,
        metavar="FOLDER",
        help="write a report, as text and as JSON, and a sheet of all pictures there",
    )
    made.add_argument("--auth", default="", metavar="USER:PASSWORD", help="where the WebUI has --api-auth")
    made.add_argument(
        "--any-certificate", action="store_true", help="https: take a certificate of one's own too"
    )
    made.add_argument("--seconds", type=float, default=1800, help="how long an answer may take (%(default)g)")
    return made


def main(arguments: Sequence[str]) -> int:
    """Run the command; the result is the exit status."""
    chosen = parser().parse_args(arguments)
    findings, status = Findings(), ALL_RIGHT
    told: dict[str, Any] = {}
    found: list[str] = []
    try:
        _check(chosen)
        wanted = methods_named(chosen.methods)
        client = Client(
            chosen.url, chosen.auth or os.environ.get(AUTH, ""), chosen.seconds, chosen.any_certificate
        )
        try:
            told |= connection.status(client, found)
        finally:
            for sentence in found:
                _say(sentence)
        _Run(chosen, client, told, findings).run(wanted)
    except (Unusable, Refused, BadSetting) as error:
        print(error, file=sys.stderr)
        status = COULD_NOT_RUN
    except KeyboardInterrupt:
        _say("Interrupted.")
        status = INTERRUPTED
    if status == ALL_RIGHT and not findings.all_right:
        status = SOMETHING_WRONG
    if chosen.report is not None and findings.outcomes:
        try:
            report.write(chosen.report, told, findings)
            _say(f"The report is in {chosen.report}.")
        except OSError as error:
            print(f"The report could not be written ({error.strerror or error}).", file=sys.stderr)
            return COULD_NOT_RUN
    if status in (ALL_RIGHT, SOMETHING_WRONG):
        _say("All right." if status == ALL_RIGHT else "Something is wrong: see the lines above.")
    return status


def _say(text: str) -> None:
    print(text, flush=True)


def _check(chosen: argparse.Namespace) -> None:
    """Raise Unusable for what no trial can be made with."""
    size = chosen.size
    if size is not None and (size % 64 or not LEAST_SIDE <= size <= LARGEST_SIDE):
        raise Unusable(f"--size is {size}; it must be a multiple of 64 from {LEAST_SIDE} to {LARGEST_SIDE}.")
    for name in ("steps", "repeats"):
        value, most = getattr(chosen, name), {"steps": 150, "repeats": 50}[name]
        if not 1 <= value <= most:
            raise Unusable(f"--{name} is {value}; it must be from 1 to {most}.")
    if chosen.seconds <= 0:
        raise Unusable(f"--seconds is {chosen.seconds:g}; it must be more than 0.")
    if chosen.report is not None:
        try:
            chosen.report.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise Unusable(
                f"{chosen.report} cannot be a folder for the report ({error.strerror or error})."
            ) from error


class _Run:
    """One run of the command. Adds to `findings`, and to `told` what changes meanwhile."""

    def __init__(
        self, chosen: argparse.Namespace, client: Client, told: dict[str, Any], findings: Findings
    ) -> None:
        self._chosen = chosen
        self._client = client
        self._told = told
        self._findings = findings
        self._number = self._total = 0

    def run(self, wanted: Sequence[Method]) -> None:
        """Try the methods, or by default those that can be tried. Raises Unusable."""
        checkpoints = self._checkpoints()
        self._told["checkpoints"] = [title for _, title in checkpoints.values()]
        families = [family for family in FAMILIES if family.key in checkpoints]
        methods = list(wanted) or [method for method in METHODS if method.family in families]
        for family in FAMILIES:
            if family not in families and any(method.family is family for method in wanted):
                raise Unusable(
                    f"For the {family.title} methods the WebUI needs an {family.title} checkpoint; select "
                    "one there, or name one with --checkpoint."
                )
        tried = self._with_files(methods, bool(wanted))
        before = None
        try:
            for family in families:
                own = [method for method in tried if method.family is family]
                name, _ = checkpoints[family.key]
                if own and name:
                    before = before or self._selected()
                    self._select(name)
                if own:
                    self._family(family, own)
        finally:
            if before:
                self._select(before)
        # those that were used have been read meanwhile
        self._told |= {"files": connection.state(self._client).get("files", [])}
        self._number = self._total = 0
        self._note("Hashes", _hashes(self._told["files"], {f.name for m in tried for f in _files_of(m)}), 0)

    def _checkpoints(self) -> dict[str, tuple[str, str]]:
        """By family: the name to select, "" for the one that is selected already, and its title."""
        named = {}
        for name in self._chosen.checkpoint:
            told = connection.of_checkpoint(self._client, name)
            if told["family"] not in KEYS:
                raise Unusable(f'"{name}" is no {TITLES} checkpoint that the WebUI knows.')
            named[told["family"]] = name, told["title"]
        told = self._told.get("checkpoint") or {"family": "", "title": ""}
        if told["family"] in KEYS and not named:
            return {told["family"]: ("", told["title"])}
        if named:
            return named
        raise Unusable(
            f"The selected checkpoint ({told['title'] or 'none'}) is none of {TITLES}; select another "
            "in the WebUI, or name one with --checkpoint."
        )

    def _with_files(self, methods: Sequence[Method], named: bool) -> list[Method]:
        """Say what is there of the files; return the methods that can be tried."""
        there = {file["name"]: file for file in self._told.get("files", [])}
        needed = [file for method in methods for file in _files_of(method)]
        missing = list(dict.fromkeys(file for file in needed if not there.get(file.name, {}).get("size")))
        damaged = [f"{name} is damaged: {file['problem']}" for name, file in there.items() if file["problem"]]
        amount = sum(file.size for file in missing) / 1e6
        names = ", ".join(file.name for file in missing)
        text = f"{len(set(needed)) - len(missing)} of {len(set(needed))} are there"
        if missing and self._chosen.fetch:
            text += f"; {amount:.0f} MB will be fetched: {names}"
        elif missing:
            text += f"; missing: {names} ({amount:.0f} MB), which --fetch has fetched"
        text = ". ".join([text, *damaged])
        left_out = [] if self._chosen.fetch else missing
        tried = [method for method in methods if not set(_files_of(method)) & set(left_out)]
        state = WRONG if damaged or (left_out and named) else NOTE if missing else RIGHT
        self._note("Files", Outcome(state, text), 0)
        if not tried:
            raise Unusable("There is no method whose weight files are there; --fetch has them fetched.")
        return tried

    def _selected(self) -> str:
        try:
            return str(self._client.get("/sdapi/v1/options").get("sd_model_checkpoint") or "")
        except Refused as refused:
            raise Unusable(f"Which checkpoint is selected could not be told ({refused}).") from refused

    def _select(self, name: str) -> None:
        try:
            self._client.post("/sdapi/v1/options", {"sd_model_checkpoint": name})
        except Refused as refused:
            raise Unusable(f'The checkpoint "{name}" could not be selected ({refused}).') from refused

    def _family(self, family: Family, methods: list[Method]) -> None:
        jobs = Jobs(self._client, family, self._chosen.size or family.side, self._chosen.steps)
        trial = Trial(jobs, methods, self._findings, self._chosen.repeats, not self._chosen.no_times)
        cases = list(trial.cases())
        self._number, self._total = 0, len(cases)
        for case in cases:
            start = time.perf_counter()
            try:
                outcome = case.run()
            except Failed as failed:
                outcome = Outcome(WRONG, f"{str(failed)[0].upper()}{str(failed)[1:]}.")
            self._number += 1
            self._note(case.name, outcome, time.perf_counter() - start)

    def _note(self, name: str, outcome: Outcome, seconds: float) -> None:
        self._findings.outcomes.append((name, outcome, seconds))
        place = f"[{self._number}/{self._total}] " if self._total else ""
        time_taken = f" ({seconds:.1f} s)" if seconds else ""
        _say(f"{place}{name}: {outcome.state}, {outcome.text}{time_taken}")


def _files_of(method: Method) -> list[WeightFile]:
    """What a method's cases need: a round trip begins with a picture."""
    own = [method.weights]
    if method.decodes_alpha:
        own.append(method.family.decoder)
        if not method.pictures and method.frames == 1:
            own.append(method.family.encoder)
    return own


def _hashes(files: Sequence[dict[str, Any]], used: set[str]) -> Outcome:
    """What is known of the files that were used, now that they have been read."""
    used_files = [file for file in files if file["name"] in used]
    count = Counter(file["hash"] for file in used_files if file["released"])
    other = [file["name"] for file in used_files if not file["released"]]
    text = (
        ", ".join(f"{number} {words}" for words, number in sorted(count.items())) or "none of a released size"
    )
    text += f"; of another size than a release: {', '.join(other)}" if other and count else ""
    damaged = [f"{file['name']} is damaged: {file['problem']}" for file in used_files if file["problem"]]
    state = WRONG if damaged else NOTE if other or count["another"] else RIGHT
    return Outcome(state, ". ".join([text, *damaged]), dict(count))
