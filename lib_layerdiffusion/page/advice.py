"""What the panel says before Generate is pressed: what is missing, and what is known not to work."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from lib_layerdiffusion.methods import FAMILIES, Layer, Method
from lib_layerdiffusion.weight_files import WeightFile


class Checkpoint(NamedTuple):
    """The selected one: a family's key or "" for others, and what users call it."""

    family: str
    title: str


def sentences(
    method: Method,
    given: Collection[Layer],
    sampler: str = "",
    checkpoint: Checkpoint | None = None,
    absent: Collection[WeightFile] = (),
) -> list[str]:
    """Return what is worth saying about a generation, most important first.

    `given` are the slots that hold a picture; an unknown sampler is "", an unknown checkpoint None. `absent`
    are the files that will be fetched.
    """
    said = []
    if checkpoint is not None and method.files and checkpoint.family != method.family.key:
        other = next((one.title for one in FAMILIES if one.key == checkpoint.family), "")
        instead = f"or an {other} method" if other else "first"
        said.append(
            f"This method needs an {method.family.title} checkpoint, but {checkpoint.title} is selected. "
            f"Select an {method.family.title} checkpoint {instead}."
        )
    missing = [layer.value for layer in method.pictures if layer not in given]
    if missing:
        names = " and a ".join(missing)
        said.append(f"This method still needs a {names} picture.")
    if len(method.pictures) > 1 and (not sampler or sampler.startswith("DPM++")):
        said.append("DPM++ samplers are known to give artefacts with this method; Euler a and UniPC work.")
    if method.family.experimental:
        said.append("This method is experimental: nobody has judged its pictures yet.")
    licensed = [file for file in absent if file.repository.licence]
    if licensed:
        repository = licensed[0].repository
        size = sum(file.size for file in licensed)
        said.append(
            f"Generate will fetch its files ({size / 1e6:.0f} MB) from {repository.name}; they come under "
            f"{repository.licence}."
        )
    return said
