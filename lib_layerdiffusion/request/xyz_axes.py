"""Axes for the host's X/Y/Z plot. Every cell is a job of its own, and its values never reach another."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lib_layerdiffusion.methods import METHODS, find_method
from lib_layerdiffusion.pictures.arithmetic import ResizeMode
from lib_layerdiffusion.request.finish import Value
from lib_layerdiffusion.request.options import PASSES, PREFIX, Options
from lib_layerdiffusion.request.settings import FINISH, REPAINTING, SHORT, TITLES, Settings
from lib_layerdiffusion.request.trigger_words import TRIGGER_WORDS

VALUES = "layerdiffuse_axes"
ON, OFF = "on", "off"

Job = Any


@dataclass(frozen=True)
class Axis:
    """One axis. `name` is the script argument it sets, or the field of Options.

    `kind` makes a value of what was typed; `choices`, where there are any, are what may be picked.
    """

    name: str
    title: str
    kind: type
    check: Callable[[Any], object]
    choices: tuple[str, ...] | None = None

    @property
    def label(self) -> str:
        return f"[LayerDiffuse] {self.title}"

    def apply(self, p: Job, value: Any, values: Sequence[Any]) -> None:
        """Host callback: set the value for one cell, whose `p` is a shallow copy."""
        put(p, p, {self.name: value})

    def confirm(self, p: Job, values: Sequence[Any]) -> None:
        """Host callback before the first cell. Raises BadSetting."""
        for value in values:
            self.check(value)


def _as_argument(name: str) -> Callable[[Any], object]:
    return lambda value: Settings.from_args([{name: value}])


def _passes(value: Any) -> int | str:
    return Options.of({f"{PREFIX}decode_passes": value}).decode_passes


def _finish_axis(value: Value) -> Axis:
    check = _as_argument(value.name)
    if isinstance(value.default, str):
        return Axis(value.name, value.title, str, check)
    if not value.is_number:
        return Axis(value.name, value.title, str, check, (ON, OFF))
    return Axis(value.name, value.title, type(value.default), check)


AXES: tuple[Axis, ...] = (
    Axis("enabled", "Enabled", str, _as_argument("enabled"), (ON, OFF)),
    Axis("method", "Method", str, find_method, tuple(method.label for method in METHODS)),
    *(Axis(name, TITLES[name], float, _as_argument(name)) for name in ("weight", "ending_step")),
    Axis(
        "resize_mode",
        "Resize Mode",
        str,
        _as_argument("resize_mode"),
        tuple(mode.value for mode in ResizeMode),
    ),
    *(
        Axis(f"{short}_additional_prompt", f"{layer.value.capitalize()} Prompt", str, str)
        for layer, short in SHORT.items()
    ),
    *(_finish_axis(value) for value in (*(FINISH | REPAINTING).values(), TRIGGER_WORDS)),
    Axis("decode_passes", "Decode Passes", str, _passes, tuple(map(str, PASSES))),
)


def put(p: Job, of: Job, values: Mapping[str, Any]) -> None:
    """Have the job `p` take these values, by name, beside those that were put for the job `of`."""
    # with whose they are: a script's own job over a copy of a cell's `p` has no part in the plot
    setattr(p, VALUES, (weakref.ref(p), {**_values(of), **values}))


def arguments(p: Job) -> dict[str, Any]:
    """Return the script arguments that the axes set for this job, by name.

    An axis of ours switches the extension on, unless the axis for that says otherwise.
    """
    values = _values(p)
    if values:
        values = {"enabled": True, **values}
        values.pop("decode_passes", None)
    return values


def options(p: Job, read: Options) -> Options:
    """Return the options `read` from the host, as the axes change them for this job."""
    passes = _values(p).get("decode_passes")
    return read if passes is None else replace(read, decode_passes=_passes(passes))


def _values(p: Job) -> dict[str, Any]:
    owner, values = getattr(p, VALUES, (None, {}))
    return dict(values) if owner is not None and owner() is p else {}
