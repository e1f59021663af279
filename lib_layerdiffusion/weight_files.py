"""What is known of a released file before it is there: what it holds, where it lies, under which terms."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Holds(Enum):
    """What a released file is."""

    TRANSPARENCY_ENCODER = "transparency encoder"
    TRANSPARENCY_DECODER = "transparency decoder"
    WEIGHT_PATCH = "weight patch"
    ATTENTION_SHARING = "attention sharing"
    RGBA_VAE = "RGBA VAE"
    LORA = "LoRA"
    NOTHING = "nothing"


@dataclass(frozen=True)
class Repository:
    """Where files are released: its name at the hub and a revision of it, and what may be done with them.

    `licence` is named before the first download, "" where it is that of the project itself.
    """

    name: str
    revision: str = "main"
    licence: str = ""


LAYERDIFFUSION = Repository("LayerDiffusion/layerdiffusion-v1", "e337e9d7a0f2a6fee6c3580374327380f88d065b")
ANIMA_RGBA = Repository(
    "localai0301/Anima-RGBA", licence="the CircleStone Labs Non-Commercial License of Anima"
)


@dataclass(frozen=True)
class WeightFile:
    """A released file. `sizes` are the bytes that releases of it have, the likeliest first.

    `sha256` is that of the release with the first size, "" where nobody has published it. Both come from
    public lists that could not be checked against the files, so they may warn and never refuse. `folder` is
    where it lies in its repository; `others` are files of another purpose with the same tensors, by size.
    """

    name: str
    holds: Holds
    sizes: tuple[int, ...]
    sha256: str = ""
    repository: Repository = LAYERDIFFUSION
    folder: str = ""
    others: tuple[tuple[int, str], ...] = ()

    @property
    def filename(self) -> str:
        return f"{self.name}.safetensors"

    @property
    def path(self) -> str:
        """Its place in the repository."""
        return f"{self.folder}/{self.filename}" if self.folder else self.filename

    @property
    def size(self) -> int:
        return self.sizes[0]
