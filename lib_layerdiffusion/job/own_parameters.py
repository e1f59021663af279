"""The dictionary of which the host writes a job's infotext: whose it is, where several objects share it.

Other scripts keep it and write into it later, so a job goes on with the very one it came with. A copy of a
processing object refers to the same one, and so does one that a script makes with it for a job of its own.
"""

from __future__ import annotations

from typing import Any
from weakref import WeakValueDictionary

from lib_layerdiffusion.hosts.base import Job

_owners: WeakValueDictionary[int, Any] = WeakValueDictionary()
"""The processing object that was seen first with a dictionary, by the dictionary's identity."""


def own_parameters(p: Job) -> dict[str, Any]:
    """Return `p.extra_generation_params`; where it is another object's, `p` gets a copy of it first."""
    parameters: dict[str, Any] = p.extra_generation_params
    owner = _owners.get(id(parameters))
    # an object that has another one by now is no owner; the identity may be that of a newer dictionary
    if owner is not None and owner is not p and owner.extra_generation_params is parameters:
        parameters = p.extra_generation_params = dict(parameters)
    _owners[id(parameters)] = p
    return parameters
