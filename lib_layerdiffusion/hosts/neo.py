"""Forge Neo: as Forge, but with a patcher that follows newer ComfyUI."""

from __future__ import annotations

import math

from backend.patcher.base import ModelPatcher
from backend.patcher.lora import weight_adapter
from torch import Tensor

from lib_layerdiffusion.hosts.backend import BackendHost
from lib_layerdiffusion.hosts.base import Job
from lib_layerdiffusion.hosts.capabilities import Ability, Capabilities
from lib_layerdiffusion.hosts.weight_adapters import WeightAdapters, loads_completely


class NeoHost(WeightAdapters, BackendHost):
    """Implements `hosts.base.Host`."""

    name = "Forge Neo"
    capabilities = Capabilities(
        webui="Forge Neo",
        tested="2.26, exo101 distribution 5692d2d",
        limits={
            Ability.INFOTEXT: (
                "In Forge Neo 2.26 the web API's own `infotext` field fails before any script is asked; send "
                "the settings as arguments there."
            )
        },
    )

    refiner_never_from = math.inf  # it counts noise levels
    make_patcher = loads_completely(ModelPatcher)
    lora_adapter = weight_adapter.LoRAAdapter

    def as_first_pass(self, p: Job, pictures: Tensor) -> Tensor:
        return pictures
