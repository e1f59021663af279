"""How transparent each picture of a job came out: told under the gallery, in its text, and to the API."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from lib_layerdiffusion.pictures.verdict import CLEAN, in_a_line
from lib_layerdiffusion.request import infotext

WORD_KEY = f"{infotext.PREFIX}verdict"
"""Of the infotext; no setting, so that it replays to nothing."""
LIST_KEY = f"{infotext.PREFIX}verdicts"
"""Of the web API's `info`: an object for each picture."""


class Verdicts:
    """Those of one job. `say` shows a sentence under the gallery, unless they are to be `silent`."""

    def __init__(self, say: Callable[[str], None], silent: bool = False) -> None:
        self._say = say
        self._silent = silent
        self._told: list[dict[str, Any]] = []

    def tell(self, parameters: dict[str, Any], name: str, number: int, told: Mapping[str, Any]) -> None:
        """Write it into what becomes the picture's infotext right after, and say what is not clean.

        `name` is what messages call the picture, `number` its place in the job, counted from 1, and `told`
        what `as_json` says of it.
        """
        parameters[WORD_KEY] = told["verdict"]
        self._told.append({**told, "picture": number})
        if told["verdict"] != CLEAN and not self._silent:
            self._say(f"{name[0].upper()}{name[1:]}: {in_a_line(told)}")

    def told(self) -> dict[str, Any]:
        """Return what the web API gets, nothing where no picture was judged."""
        return {LIST_KEY: self._told} if self._told else {}
