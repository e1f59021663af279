"""Infotext as WebUIs write and read it: the prompt's lines, and a last line of settings.

A setting is `key: value`. Values with a comma, a colon or a line feed are written as JSON strings, others
bare; a bare value goes to the next comma. Empty values are lost, and `512x768` is taken for a size.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

KEY = re.compile(r"\w[\w /-]+\Z")
SIZE = re.compile(r"(\d+)x(\d+)\Z")
FEWEST_SETTINGS = 3


def write(prompt: str, settings: Mapping[str, Any]) -> str:
    return f"{prompt}\n" + ", ".join(f"{key}: {_quoted(value)}" for key, value in settings.items())


def read(infotext: str) -> dict[str, str]:
    """Return the settings of the last line, where it is one of settings."""
    found = dict(_settings(infotext.strip().split("\n")[-1]))
    if len(found) < FEWEST_SETTINGS:
        return {}
    params: dict[str, str] = {}
    for key, value in found.items():
        size = SIZE.match(value)
        if size is not None:
            params |= {f"{key}-1": size[1], f"{key}-2": size[2]}
        elif value:
            params[key] = value
    return params


def _quoted(value: Any) -> str:
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if set(text) & set(",:\n") else text


def _settings(line: str) -> Iterator[tuple[str, str]]:
    position = 0
    while (colon := line.find(":", position)) >= 0:
        key, start = line[position:colon].strip(), colon + 1
        while start < len(line) and line[start].isspace():
            start += 1
        value, position = _value(line, start)
        if KEY.match(key):
            yield key, value


def _value(line: str, start: int) -> tuple[str, int]:
    """The value that begins at `start`, and where the next key begins."""
    if line.startswith('"', start):
        try:
            value, end = json.JSONDecoder(strict=False).raw_decode(line, start)
        except ValueError:
            pass
        else:
            if end == len(line) or line[end] == ",":
                return value, end + 1
    end = line.find(",", start)
    end = len(line) if end < 0 else end
    return line[start:end], end + 1
