"""Putting something around a function of the host, once per process and for good."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

MARK = "layerdiffuse_wrapped"


def wrap(owner: Any, name: str, wrapper: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    """Replace `owner.name`, of a module or a class, by `wrapper(function)`.

    One that is wrapped already stays as it is; a name that the owner lacks is ignored.
    """
    function = getattr(owner, name, None)
    # scripts are loaded again when the page is reloaded; the host's modules are not
    if function is not None and not hasattr(function, MARK):
        wrapped = functools.wraps(function)(wrapper(function))
        setattr(wrapped, MARK, True)
        setattr(owner, name, wrapped)
