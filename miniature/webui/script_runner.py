"""Runs a script of the WebUI's list, which runs jobs of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class ScriptRunner:
    """`selectable_scripts` are those of the list, `alwayson_scripts` those that have a part in every job."""

    def __init__(self, selectable_scripts: Sequence[Any], alwayson_scripts: Sequence[Any]) -> None:
        self.selectable_scripts = selectable_scripts
        self.alwayson_scripts = alwayson_scripts

    def run(self, p: Any, *args: Any) -> Any:
        """Run the script whose number the first argument is, from 1; 0 is none."""
        return self.selectable_scripts[args[0] - 1].run(p) if args[0] else None
