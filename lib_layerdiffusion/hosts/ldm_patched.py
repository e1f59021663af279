"""What hosts with the package `ldm_patched` have in common: reForge, Forge Classic, Forge of early 2024."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from ldm_patched.modules import model_base, model_management
from ldm_patched.modules.conds import CONDRegular
from modules_forge import main_thread
from modules_forge.forge_sampler import sampling_prepare

from lib_layerdiffusion.errors import LayerDiffuseError
from lib_layerdiffusion.hosts.base import Job, Unet
from lib_layerdiffusion.hosts.webui import MARK, WebuiHost

INPAINTING_CHANNELS = 9


class LdmPatchedHost(WebuiHost):
    """Their models are ComfyUI's `BaseModel`, their pages gradio 3."""

    memory = model_management
    make_condition = CONDRegular
    prepare_sampling = staticmethod(sampling_prepare)

    def sigma(self, unet: Unet, percent: float) -> float:
        return float(unet.model.model_sampling.percent_to_sigma(percent))

    def computation_dtype(self, unet: Unet) -> torch.dtype:
        return unet.model.manual_cast_dtype or unet.model.get_dtype()

    def scaling(self, p: Job) -> Any:
        return p.sd_model.forge_objects.unet.model.latent_format

    def is_sdxl_base(self, model: Any) -> bool:
        return isinstance(model.forge_objects.unet.model, model_base.SDXL)

    def is_inpainting(self, model: Any) -> bool:
        return model.forge_objects.unet.model.diffusion_model.in_channels == INPAINTING_CHANNELS

    def tiles(self, p: Job) -> bool:
        return bool(p.tiling)

    def app_started(self, demo: Any, app: Any) -> None:
        super().app_started(demo, app)
        _show_errors()

    def _load_selected(self, p: Job) -> None:
        from modules import sd_models

        sd_models.reload_model_weights()

    def image_input(self, label: str, elem_id: str) -> Any:
        import gradio as gr

        return gr.Image(
            label=label,
            elem_id=elem_id,
            source="upload",
            tool=None,
            type="numpy",
            image_mode="RGBA",
            height=300,
        )


def _show_errors() -> None:
    """Let our errors through to the page: these hosts print what ends a job and show something else."""
    run = main_thread.run_and_wait_result
    if hasattr(run, MARK):
        return

    @functools.wraps(run)
    def run_and_wait_result(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        failed: list[LayerDiffuseError] = []

        def watched(*args: Any, **kwargs: Any) -> Any:
            try:
                return function(*args, **kwargs)
            except LayerDiffuseError as error:
                failed.append(error)
                raise

        result = run(watched, *args, **kwargs)
        if failed:
            raise failed[0]
        return result

    setattr(run_and_wait_result, MARK, True)
    main_thread.run_and_wait_result = run_and_wait_result
