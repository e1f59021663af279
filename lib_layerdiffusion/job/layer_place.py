"""Where the picture of a job belongs in a stack of layers, as its infotext says."""

from __future__ import annotations

import weakref
from typing import Any

from lib_layerdiffusion.hosts.base import Job
from lib_layerdiffusion.request import infotext

PLACE_KEY = f"{infotext.PREFIX}stack"
_PLACE = "layerdiffuse_place"


def put(p: Job, place: str) -> None:
    """Say which place the picture of this very job has; copies of it have none."""
    setattr(p, _PLACE, (weakref.ref(p), place))


def place_of(p: Job) -> dict[str, Any]:
    """Return what the infotext says of it; nothing for a job that is no step of a stack."""
    owner, place = getattr(p, _PLACE, (None, ""))
    return {PLACE_KEY: place} if owner is not None and owner() is p else {}
