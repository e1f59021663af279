"""What a trial found, as Markdown and JSON; the row for docs/benchmarks.md is in it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

from lib_layerdiffusion.methods import FAMILIES, Family
from lib_layerdiffusion.pictures import png
from lib_layerdiffusion.trial import times
from lib_layerdiffusion.trial.cases import Findings
from lib_layerdiffusion.trial.sheet import sheet
from lib_layerdiffusion.trial.times import PASSES, Times

HEADER = (
    *("date", "device", "driver, PyTorch", "host", "family, side, steps", "weights", "a pass of the decode"),
    *("8 passes", "4 passes", "2 passes", "1 pass", "adaptive"),
    *("off", "first", "again", "Stop At 0.5", "memory"),
)
"""Columns of a row of docs/benchmarks.md."""

PATHS = re.compile(r"(?<![\w.])(?:[A-Za-z]:)?[\\/].*[\\/]", re.S)
TOLD = ("version", "host", "host_version", "python", "system", "packages", "device", "folder", "settings")
"""What of the installation's state is repeated; nothing else of it is."""


def header() -> str:
    """The first two lines of the table."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (HEADER, ["---"] * len(HEADER)))


def row(told: Mapping[str, Any], family: Family, measured: Times) -> str:
    """The row of one family."""
    device = told.get("device") or {}
    memory = device.get("memory", 0)
    torch = next((text for text in told.get("packages", []) if text.startswith("torch ")), "")
    cells = [
        date.today().isoformat(),
        device.get("name", "") + (f", {memory / 2**30:.0f} GiB" if memory else ""),
        ", ".join(filter(None, [device.get("driver", ""), torch])),
        f"{told.get('host', '')} {told.get('host_version', '')}".strip(),
        f"{family.title}, {measured.size}, {measured.steps}",
        weights(told, family),
        times.shown(measured.per_pass()),
        *(times.shown(measured.decode.get(str(passes), [])) for passes in PASSES),
        *(times.shown(each) for each in (measured.off, measured.first, measured.again, measured.stop_at)),
        _memory(measured),
    ]
    return f"| {' | '.join(cells)} |"


def weights(told: Mapping[str, Any], family: Family) -> str:
    """Whether the family's decoder is the released one, as far as its hash is known."""
    for file in told.get("files", []):
        if file["name"] == family.decoder.name:
            return {"right": "released", "another": "not the released"}.get(file["hash"], file["hash"])
    return "unknown"


def _memory(measured: Times) -> str:
    cells = []
    for name, found in measured.memory.items():
        used = found.get("device_peak") or found.get("ram_used")
        if used:
            cells.append(f"{name} {used / 2**30:.1f} GiB")
    return ", ".join(cells) or "-"


def markdown(told: Mapping[str, Any], findings: Findings) -> str:
    """The report for people."""
    device = told.get("device") or {}
    lines = [
        "# A trial of LayerDiffuse",
        "",
        f"LayerDiffuse {told.get('version')} on {told.get('host')} {told.get('host_version')}".rstrip()
        + f", Python {told.get('python')} on {told.get('system')}. {', '.join(told.get('packages', []))}.",
        "",
        f"Device: {', '.join(filter(None, [device.get('name'), device.get('driver')]))}. "
        f"Settings: {', '.join(f'{key} {value}' for key, value in (told.get('settings') or {}).items())}.",
        "",
        "**All right.**" if findings.all_right else "**Something is wrong.**",
        "",
        "| case | state | what was found | seconds |",
        "| --- | --- | --- | --- |",
    ]
    lines += [
        f"| {_cell(name)} | {outcome.state} | {_cell(outcome.text)} | {seconds:.1f} |"
        for name, outcome, seconds in findings.outcomes
    ]
    lines += [
        "",
        "## Files",
        "",
        f"In `{told.get('folder', '')}`.",
        "",
        "| file | bytes | hash |",
        "| --- | --- | --- |",
    ]
    for file in told.get("files", []):
        size = (
            f"{file['size']}{'' if file['released'] else ', not a released size'}"
            if file["size"]
            else "not there"
        )
        lines.append(f"| `{file['name']}` | {size} | {file['problem'] or file['hash']} |")
    rows = [
        row(told, family, findings.times[family.key]) for family in FAMILIES if _is_timed(findings, family)
    ]
    if rows:
        lines += ["", "## Times", "", header(), *rows]
    if findings.sheet:
        lines += ["", "## Pictures", "", "![The pictures over a checkerboard](sheet.png)", ""]
        lines += [f"{number}. {_cell(name)}" for number, (name, _) in enumerate(findings.sheet, 1)]
    return "\n".join(lines) + "\n"


def _is_timed(findings: Findings, family: Family) -> bool:
    return family.key in findings.times and bool(findings.times[family.key].decode)


def _cell(text: str) -> str:
    return " ".join(without_paths(text).split()).replace("|", "\\|")


def without_paths(text: str) -> str:
    """Return a sentence without the folders in it: a WebUI's sentence may name some, with spaces in them.

    So all is left out from the first folder to the last separator.
    """
    return PATHS.sub("", text)


def as_json(told: Mapping[str, Any], findings: Findings) -> dict[str, Any]:
    """The report for programs."""
    return {
        **{key: told.get(key) for key in TOLD},
        "checkpoints": told.get("checkpoints", []),
        "all_right": findings.all_right,
        "cases": [
            {
                "name": name,
                "state": outcome.state,
                "text": without_paths(outcome.text),
                "seconds": seconds,
                **{"numbers": dict(outcome.numbers)},
            }
            for name, outcome, seconds in findings.outcomes
        ],
        "files": told.get("files", []),
        "times": {key: measured.as_json() for key, measured in findings.times.items()},
    }


def write(folder: Path, told: Mapping[str, Any], findings: Findings) -> None:
    """Write the report as Markdown and as JSON, and the sheet of pictures. Raises OSError."""
    named = folder / "report"
    named.with_suffix(".md").write_text(markdown(told, findings), "utf-8")
    text = json.dumps(as_json(told, findings), indent=1, ensure_ascii=False)
    named.with_suffix(".json").write_text(text + "\n", "utf-8")
    if findings.sheet:
        pictures = [picture for _, picture in findings.sheet]
        (folder / "sheet.png").write_bytes(png.write(sheet(pictures)))
