"""What a job of AUTOMATIC1111's family asks its host for besides pictures of a prompt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lib_layerdiffusion.hosts import forge_scripts
from lib_layerdiffusion.hosts.base import BaseModel, Job
from lib_layerdiffusion.hosts.script_following import Begin
from lib_layerdiffusion.hosts.webui_page import model_of

SAME = (None, "", "Use same checkpoint")


class WebUIJobs:
    """The part of `hosts.base.Host` that looks at what was chosen for a job."""

    refiner_never_from = 1.0
    """The value of "Switch at" from which on it never comes to that."""

    def follow_scripts(self, begin: Begin) -> None:
        from modules import images, scripts

        forge_scripts.install(images, scripts.ScriptRunner, begin)

    def script_run(self) -> Any:
        return forge_scripts.current()

    def tiles(self, p: Job) -> bool:
        # Forge (main) shows the switch, and does nothing with it; Forge Neo has none
        return False

    def later_models(self, p: Job) -> Mapping[str, BaseModel]:
        from modules import sd_models

        chosen = {}
        if (getattr(p, "refiner_switch_at", None) or 0) < self.refiner_never_from:
            chosen["refiner"] = getattr(p, "refiner_checkpoint_info", None)
        name = getattr(p, "hr_checkpoint_name", None)
        if getattr(p, "enable_hr", False) and name not in SAME:
            chosen["checkpoint for hires fix"] = sd_models.get_closet_checkpoint_match(name)
        told = {role: model_of(info) for role, info in chosen.items() if info is not None}
        return {role: model for role, model in told.items() if model is not None}
