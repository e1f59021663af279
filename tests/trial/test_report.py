"""Reports: docs/benchmarks.md collects their rows, and they name no folder."""

from __future__ import annotations

from pathlib import Path

from lib_layerdiffusion.trial import report

DOCUMENT = (Path(__file__).parents[2] / "docs/benchmarks.md").read_text("utf-8")


def test_the_table_has_the_columns_of_a_report() -> None:
    head, separator, *rows = DOCUMENT[DOCUMENT.index(f"| {report.HEADER[0]} |") :].strip().splitlines()
    assert f"{head}\n{separator}" == report.header()
    assert [row for row in rows if row.count(" | ") != head.count(" | ")] == []


def test_a_report_names_no_folder() -> None:
    for text, told in {
        'a file is damaged: /home/Jo Do/models/layer_model/x "y" holds': 'a file is damaged: x "y" holds',
        r"refused: C:\Users\Jo Do\webui\models cannot be read": "refused: models cannot be read",
        "it asked http://me:secret@mirror/files.": "it asked http:files.",
        "alpha 0.061, and/or colour (32 dB)": "alpha 0.061, and/or colour (32 dB)",
    }.items():
        assert report.without_paths(text) == told
