"""What the documents name is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = ("docs/faults.md", "docs/quirks.md")


def known_tests() -> dict[str, set[str]]:
    return {
        path.stem: {
            node.name
            for node in ast.walk(ast.parse(path.read_text("utf-8")))
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
        }
        for path in (ROOT / "tests").rglob("test_*.py")
    }


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_test_that_a_document_names_exists(document: str) -> None:
    known = known_tests()
    named = re.findall(r"`(test_\w+)(?:::(test_\w+))?`", (ROOT / document).read_text("utf-8"))
    assert len(named) > 20
    for first, second in named:
        if second:
            assert second in known[first], (first, second)
        else:
            assert first in known or any(first in tests for tests in known.values()), first


def test_every_fault_has_a_test() -> None:
    rows = [
        line for line in (ROOT / "docs/faults.md").read_text("utf-8").splitlines() if line.startswith("| ")
    ]
    faults = [row for row in rows if not row.startswith(("| fault", "| ---"))]
    assert len(faults) > 35
    assert [row for row in faults if "`test_" not in row] == []


@pytest.mark.parametrize("document", [*DOCUMENTS, "README.md", "benchmarks/README.md", "miniature/README.md"])
def test_links_inside_the_project_lead_somewhere(document: str) -> None:
    path = ROOT / document
    targets = re.findall(r"\]\(([^)#\s]+)", path.read_text("utf-8"))
    missing = [t for t in targets if not t.startswith("http") and not (path.parent / t).exists()]
    assert missing == []
