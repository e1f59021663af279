"""docs/benchmarks.md collects rows as the report has them."""

from __future__ import annotations

from pathlib import Path

from lib_layerdiffusion.trial import report

DOCUMENT = (Path(__file__).parents[2] / "docs/benchmarks.md").read_text("utf-8")


def test_the_table_has_the_columns_of_a_report() -> None:
    head, separator, *rows = DOCUMENT[DOCUMENT.index(f"| {report.HEADER[0]} |") :].strip().splitlines()
    assert f"{head}\n{separator}" == report.header()
    assert [row for row in rows if row.count(" | ") != head.count(" | ")] == []
