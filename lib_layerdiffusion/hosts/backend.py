"""What hosts with the package `backend` have in common: Forge and Forge Neo (gradio 4)."""

from __future__ import annotations

from typing import Any

import torch
from backend import memory_management
from backend.sampling.condition import Condition
from backend.sampling.sampling_function import sampling_prepare

from lib_layerdiffusion.errors import IncompatibleHost
from lib_layerdiffusion.hosts.base import Job, Unet
from lib_layerdiffusion.hosts.webui import WebuiHost


class BackendHost(WebuiHost):
    """Their models are Forge's own, or written like them."""

    memory = memory_management
    make_condition = Condition
    prepare_sampling = staticmethod(sampling_prepare)

    def sigma(self, unet: Unet, percent: float) -> float:
        return float(unet.model.predictor.percent_to_sigma(percent))

    def computation_dtype(self, unet: Unet) -> torch.dtype:
        return unet.model.computation_dtype

    def scaling(self, p: Job) -> Any:
        model = p.sd_model.forge_objects.vae.first_stage_model
        if not hasattr(model, "process_in"):
            raise IncompatibleHost(
                "LayerDiffuse cannot encode with the selected VAE; select the checkpoint's own."
            )
        return model

    def is_sdxl_base(self, model: Any) -> bool:
        return hasattr(model, "text_processing_engine_l") and hasattr(model, "text_processing_engine_g")

    def is_inpainting(self, model: Any) -> bool:
        return bool(getattr(model, "is_inpaint", False))

    def _load_selected(self, p: Job) -> None:
        from modules import sd_models

        p.sd_model, _ = sd_models.forge_model_reload()

    def image_input(self, label: str, elem_id: str) -> Any:
        from modules_forge.forge_canvas.canvas import ForgeCanvas

        picture = ForgeCanvas(numpy=True, no_scribbles=True, height=300, elem_id=elem_id).background
        # all canvases call it "background", which is what the web API would list
        picture.label = label
        return picture
