"""The part of a host's adapter that tells which model is loaded, and which families there are at all."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from lib_layerdiffusion.hosts.base import BaseModel, Job
from lib_layerdiffusion.methods import FAMILIES, Family


class WebUIModels:
    def is_sdxl_base(self, model: Any) -> bool:
        """Tell an SDXL base model from an SDXL refiner."""
        raise NotImplementedError

    def is_inpainting(self, model: Any) -> bool:
        raise NotImplementedError

    def base_model(self, p: Job) -> BaseModel:
        model = p.sd_model
        info = getattr(model, "sd_checkpoint_info", None)
        title = getattr(info, "name_for_extra", None) or type(model).__name__
        channels = getattr(model.forge_objects.vae, "latent_channels", 4)
        own = next((one for one in FAMILIES if one.engine and one.title == type(model).__name__), None)
        if own is not None and self._blocks(model) > own.blocks:
            family, kind = "", f"{own.title} of {self._blocks(model)} blocks"
        elif own is not None:
            family, kind = own.key, own.title
        elif channels != 4:
            family, kind = "", f"a model of {channels} latent channels"
        elif getattr(model, "is_sdxl", False):
            family, kind = ("sdxl", "SDXL") if self.is_sdxl_base(model) else ("", "an SDXL refiner")
        elif getattr(model, "is_sd1", False):
            family, kind = "sd15", "SD1.5"
        else:
            family, kind = "", type(model).__name__
        return BaseModel(family, f"{title} ({kind})", self.is_inpainting(model))

    @staticmethod
    def _blocks(model: Any) -> int:
        return len(getattr(model.forge_objects.unet.model.diffusion_model, "blocks", ()))

    def runs(self, family: Family) -> bool:
        try:
            return not family.engine or find_spec(f"backend.diffusion_engine.{family.engine}") is not None
        except ModuleNotFoundError:
            return False
