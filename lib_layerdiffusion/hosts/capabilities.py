"""What of LayerDiffuse works on which host, as data that each adapter states."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum


class Ability(Enum):
    """One thing that users do; the value is how a table calls it."""

    SDXL = "six SDXL methods"
    SD15 = "four SD1.5 methods"
    IMG2IMG = "img2img and inpainting"
    HIRES = "hires fix"
    STOP_AT = "Stop At"
    BATCHES = "batches"
    INFOTEXT = "infotext replay"
    XYZ = "X/Y/Z plot"
    SETTINGS = "settings"
    ALPHA = "alpha kept on save"


@dataclass(frozen=True)
class Capabilities:
    """Which WebUI this is about, and what of it users must know.

    `missing` says in one sentence why an ability is not there, `limits` what is different about one that is,
    `notes` what else is.
    """

    webui: str
    tested: str
    missing: Mapping[Ability, str] = field(default_factory=dict)
    limits: Mapping[Ability, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def works(self, ability: Ability) -> bool:
        return ability not in self.missing

    def sentences(self) -> list[str]:
        """What to tell in the panel: first what is missing, then what is different."""
        return [*self.missing.values(), *self.limits.values(), *self.notes]
