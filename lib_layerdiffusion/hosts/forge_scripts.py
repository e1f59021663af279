"""Follows the scripts of the WebUI's list, which run several jobs: the host's functions that they use ask us.

Outside a run that is followed, and where we have nothing to say, these functions do what they always did.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from lib_layerdiffusion.hosts.base import Job
from lib_layerdiffusion.hosts.forge_saving import mark
from lib_layerdiffusion.hosts.script_following import Begin, ScriptRun
from lib_layerdiffusion.hosts.wrapping import wrap

OUR_TITLE = "LayerDiffuse"


_current: ContextVar[Any] = ContextVar("layerdiffuse_script_run", default=None)


def current() -> Any:
    """The run that is being followed, None where there is none."""
    return _current.get()


@contextmanager
def following(run: ScriptRun | None) -> Iterator[None]:
    token = _current.set(run)
    try:
        yield
    finally:
        _current.reset(token)


def install(images: Any, runner: type, begin: Begin) -> None:
    """Wrap the functions of the host's module `images`, and `run` of its class of script runners."""
    wrap(runner, "run", lambda original: _run(original, begin))
    wrap(images, "flatten", _flatten)
    wrap(images, "split_grid", _split_grid)
    wrap(images, "combine_grid", _combine_grid)


def _run(original: Callable[..., Any], begin: Begin) -> Callable[..., Any]:
    def run(self: Any, p: Job, *args: Any, **kwargs: Any) -> Any:
        with following(_begun(begin, self, p, args)):
            return original(self, p, *args, **kwargs)

    return run


def _begun(begin: Begin, runner: Any, p: Job, args: Sequence[Any]) -> ScriptRun | None:
    # the first argument is the number of the chosen script
    chosen = runner.selectable_scripts[args[0] - 1] if args and args[0] else None
    ours = next((script for script in runner.alwayson_scripts if script.title() == OUR_TITLE), None)
    if chosen is None or ours is None:
        return None
    return begin(p, chosen.title(), args[ours.args_from : ours.args_to])


def _flatten(original: Callable[..., Any]) -> Callable[..., Any]:
    def flatten(img: Any, *args: Any, **kwargs: Any) -> Any:
        followed = current()
        ours = None if followed is None else followed.flatten(img)
        return original(img, *args, **kwargs) if ours is None else ours

    return flatten


def _split_grid(original: Callable[..., Any]) -> Callable[..., Any]:
    def split_grid(image: Any, *args: Any, **kwargs: Any) -> Any:
        followed = current()
        return original(image if followed is None else followed.split(image), *args, **kwargs)

    return split_grid


def _combine_grid(original: Callable[..., Any]) -> Callable[..., Any]:
    def combine_grid(grid: Any) -> Any:
        followed = current()
        combined = None if followed is None else followed.combine(grid)
        if combined is None:
            return original(grid)
        mark(combined)
        return combined

    return combine_grid
