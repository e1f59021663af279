"""Checkpoints that take the place of the loaded one within a job: as refiner, or for the highres pass."""

from __future__ import annotations

from dataclasses import dataclass, field

from miniature.nets.random_weights import BaseModel
from miniature.webui.patcher import Patcher, SharedNetwork


@dataclass
class Checkpoint:
    """A model that stays loaded, `patcher` being what its last sampling left: some hosts start from that.

    `family` and `title` are what it claims to be; without `told` its file says neither.
    """

    base: BaseModel
    family: str = "sdxl"
    title: str = "another checkpoint"
    told: bool = True
    original: Patcher = field(init=False)
    patcher: Patcher = field(init=False)

    def __post_init__(self) -> None:
        self.original = self.patcher = Patcher(SharedNetwork(self.base.unet))


class ExchangesCheckpoints:
    """The part of a WebUI that knows which checkpoint is loaded: its own, or `other`."""

    base: BaseModel
    original: Patcher
    patcher: Patcher
    other: Checkpoint | None = None
    selected: Checkpoint | None = None
    """What jobs begin with: none but for a job that asks for another."""

    def select(self) -> None:
        """Load what is selected, if it is not loaded."""
        if self.other is not self.selected:
            self.load(self.selected)

    def load(self, other: Checkpoint | None) -> None:
        """Put another checkpoint in the place of the loaded one, or that one, None, in its place again."""
        if self.other is not None:
            self.other.patcher = self.patcher
        else:
            self._own = self.base, self.original, self.patcher
        place = self._own if other is None else (other.base, other.original, other.patcher)
        # who encodes in another way does so for the one that was loaded
        vars(self).pop("encode", None)
        self.base, self.original, self.patcher = place
        self.other = other
