"""Having one processing object do something else in one of its methods, the next time it is called.

A function put on the object itself would go along into its copies, by which other scripts run jobs of their
own, and would there still work on the first object. So the method is wrapped in the class, where it knows
whose it is, and what one object shall do is kept with a reference to that very object.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable
from typing import Any

from lib_layerdiffusion.hosts.wrapping import wrap

Run = Callable[..., Any]

KEPT = "_layerdiffuse_methods"


class _Kept:
    """What one object shall do, by the name of its method. A copy of the object refers to the same."""

    def __init__(self, held_by: Any) -> None:
        # a weak reference stays one to the first object even in deep copies
        self.held_by = weakref.ref(held_by)
        self.runs: dict[str, Run] = {}


def around_next(p: Any, name: str, run: Run) -> None:
    """Have the next call of `p.name(...)` be `run(original, ...)`; copies of `p` have no part in it.

    Of several, each finds the one before it as its `original`.
    """
    wrap(type(p), name, lambda function: _method(name, function))
    kept = _kept(p)
    if kept is None:
        kept = _Kept(p)
        setattr(p, KEPT, kept)
    earlier = kept.runs.get(name)
    kept.runs[name] = run if earlier is None else _chained(run, earlier)


def _chained(run: Run, earlier: Run) -> Run:
    def both(original: Run, *args: Any, **kwargs: Any) -> Any:
        return run(functools.partial(earlier, original), *args, **kwargs)

    return both


def forget(p: Any) -> None:
    """Have every method of `p` be the host's again."""
    p.__dict__.pop(KEPT, None)


def _kept(p: Any) -> _Kept | None:
    kept: _Kept | None = p.__dict__.get(KEPT)
    return kept if kept is not None and kept.held_by() is p else None


def _method(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        kept = _kept(self)
        run = None if kept is None else kept.runs.pop(name, None)
        if kept is not None and not kept.runs:
            forget(self)
        if run is None:
            return function(self, *args, **kwargs)
        return run(functools.partial(function, self), *args, **kwargs)

    return method
