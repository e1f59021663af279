"""The sentences that documents quote are those that the code says."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ANYTHING = ""
"""In a pattern, what a message fills in when it is raised."""
LITERAL = 0.4
"""Share of a quotation that a message must say itself."""

Pattern = list[str]
"""Characters, and ANYTHING between them."""


def messages() -> list[Pattern]:
    """Every text in the code, with its gaps."""
    found = []
    for folder in ("lib_layerdiffusion", "scripts"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.JoinedStr):
                    found.append([part for value in node.values for part in pattern(value)])
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found.append(list(node.value))
    return found


def pattern(value: ast.expr) -> Pattern:
    if isinstance(value, ast.Constant) and isinstance(value.value, str):
        return list(value.value)
    return [ANYTHING]


def likeness(text: str, message: Pattern) -> int:
    """Most characters of `text` that a message says itself, if all of it is in there; -1 where it is not."""
    if ANYTHING not in message:
        return len(text) if text in "".join(message) else -1
    best = {place: 0 for place in range(len(message))}
    for character in text:
        following: dict[int, int] = {}
        for place, said in sorted(best.items()):
            while place < len(message) and message[place] == ANYTHING:
                following[place] = max(following.get(place, -1), said)
                place += 1
            if place < len(message) and message[place] == character:
                following[place + 1] = max(following.get(place + 1, -1), said + 1)
        best = following
    return max(best.values(), default=-1)


def quotations(document: str) -> list[str]:
    """What stands in quotation marks in the tables, in pieces without gaps."""
    rows = [line for line in (ROOT / document).read_text("utf-8").splitlines() if line.startswith("|")]
    # a quotation may have quotation marks around a gap of its own
    quoted = [quote for row in rows for quote in re.findall(r'"((?:"\.\.\."|[^"])+)"', row)]
    quoted += [quote for row in rows for quote in re.findall(r"'([^']+)'", row) if row.startswith("| '")]
    pieces = [piece.strip(' "') for quote in quoted for piece in re.split(r"\.\.\.|\d+", quote)]
    return [piece for piece in pieces if len(piece) > 5]


@pytest.mark.parametrize("document", ["README.md", "docs/troubleshooting.md", "docs/faults.md"])
def test_quoted_messages_are_those_of_the_code(document: str) -> None:
    known = messages()
    quoted = quotations(document)
    assert len(quoted) > 3
    unknown = [
        quote for quote in quoted if max(likeness(quote, message) for message in known) < LITERAL * len(quote)
    ]
    assert unknown == []


def test_likeness_sees_gaps_and_differences() -> None:
    message = [*"it needs ", ANYTHING, *" MB more"]
    assert likeness("needs 7 MB", message) == len("needs  MB")
    assert likeness("needs some MB", message) == len("needs  MB")
    assert likeness("it wants", message) == 0
    assert likeness("it wants", [*"it needs"]) == -1
