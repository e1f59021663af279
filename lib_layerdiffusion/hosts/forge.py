"""Stable Diffusion WebUI Forge, current main (packages `backend` and `modules`, gradio 4)."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import torch
from backend import memory_management
from backend.patcher.base import ModelPatcher
from backend.sampling.condition import Condition
from backend.sampling.sampling_function import sampling_prepare
from modules import images, paths, prompt_parser, shared
from PIL import Image
from torch import Tensor, nn

from lib_layerdiffusion.errors import IncompatibleHost, LayerDiffuseError
from lib_layerdiffusion.hosts import forge_saving
from lib_layerdiffusion.hosts.base import Around, BaseModel, EncodePixels, Job, Network, Posterior, Unet
from lib_layerdiffusion.hosts.forge_sampling import StepModifier
from lib_layerdiffusion.hosts.webui_page import WebUIPage
from lib_layerdiffusion.layer_patch import Lora, Patch, Shape

MARK = "layerdiffuse"
BAR = ("job_count", "job_no", "sampling_steps", "sampling_step")

if not hasattr(ModelPatcher, "set_model_vae_regulation"):
    raise IncompatibleHost(
        "LayerDiffuse does not support this kind of Forge yet; it runs on lllyasviel's Forge."
    )


def _is_quantized(weight: Tensor) -> bool:
    """Quantized weights are stored packed: their shape is not the layer's."""
    return hasattr(weight, "bnb_quantized") or getattr(weight, "gguf_cls", None) is not None


class ForgeHost(WebUIPage):
    """Implements `hosts.base.Host`."""

    name = "Forge"

    def __init__(self) -> None:
        self._bar_before: dict[str, Any] = {}

    # --- surroundings
    def models_dir(self) -> Path:
        return Path(paths.models_path)

    def base_model(self, p: Job) -> BaseModel:
        model = p.sd_model
        info = getattr(model, "sd_checkpoint_info", None)
        title = getattr(info, "name_for_extra", None) or type(model).__name__
        if getattr(model, "is_sdxl", False):
            family, kind = ("sdxl", "SDXL") if self._is_sdxl_base(model) else ("", "an SDXL refiner")
        elif getattr(model, "is_sd1", False):
            family, kind = "sd15", "SD1.5"
        else:
            family, kind = "", type(model).__name__
        return BaseModel(family, f"{title} ({kind})", bool(getattr(model, "is_inpaint", False)))

    @staticmethod
    def _is_sdxl_base(model: Any) -> bool:
        return hasattr(model, "text_processing_engine_l") and hasattr(model, "text_processing_engine_g")

    def fail(self, p: Job, error: LayerDiffuseError) -> None:
        # what a hook raises is logged and forgotten; what `init` raises ends the job and is shown
        def init(*args: Any, **kwargs: Any) -> None:
            p.__dict__.pop("init", None)
            raise error

        p.init = init

    def say(self, p: Job, text: str) -> None:
        p.comment(text)

    def report(self, text: str, fraction: float | None) -> None:
        state = shared.state
        state.textinfo = text or None
        if fraction is not None:
            # the page's bar shows steps of jobs
            self._bar_before = self._bar_before or {name: getattr(state, name) for name in BAR}
            for name, value in zip(BAR, (1, 0, 1000, round(1000 * fraction)), strict=True):
                setattr(state, name, value)
        elif self._bar_before:
            for name, value in self._bar_before.items():
                setattr(state, name, value)
            self._bar_before = {}

    def interrupted(self) -> bool:
        return bool(shared.state.interrupted)

    @contextmanager
    def option(self, name: str, value: Any) -> Iterator[None]:
        data = shared.opts.data
        if name not in shared.opts.data_labels:
            yield
            return
        had, before = name in data, data.get(name)
        data[name] = value
        try:
            yield
        finally:
            if had:
                data[name] = before
            else:
                data.pop(name, None)

    # --- UNet
    def unet_parameters(self, p: Job) -> Mapping[str, Shape | None]:
        unet = p.sd_model.forge_objects_original.unet
        # what is merged at present may have widened a weight; the backup holds the model's own
        own = {**dict(unet.model.named_parameters()), **unet.model.lora_loader.backup}
        return {name: None if _is_quantized(weight) else tuple(weight.shape) for name, weight in own.items()}

    def unet(self, p: Job) -> Unet:
        return p.sd_model.forge_objects.unet

    def clone(self, unet: Unet) -> Unet:
        return unet.clone()

    def install(self, p: Job, unet: Unet) -> None:
        p.sd_model.forge_objects.unet = unet

    def is_ours(self, unet: Unet) -> bool:
        return MARK in unet.model_options

    def mark(self, unet: Unet) -> None:
        unet.model_options[MARK] = True

    def patch_weights(self, unet: Unet, identity: str, patches: Mapping[str, Patch], strength: float) -> int:
        # the host merges again only when name or strength change, so the name must tell the content
        forms: dict[str, tuple[str, Any]] = {
            name: ("lora", [patch.up, patch.down, None, None, None])
            if isinstance(patch, Lora)
            else ("diff", [patch.delta])
            for name, patch in patches.items()
        }
        return len(unet.add_patches(filename=identity, patches=forms, strength_patch=float(strength)))

    def condition(
        self, p: Job, unet: Unet, original: Unet, concat: Tensor | None, ending_step: float
    ) -> None:
        # the host's own slot for `concat` takes one only if its batch equals the latents'
        modifier = StepModifier(
            current=lambda: p.sd_model.forge_objects.unet,
            original=original,
            sigma_end=float(original.model.predictor.percent_to_sigma(ending_step)),
            concat=concat,
            prepare=sampling_prepare,
            make_condition=Condition,
        )
        unet.add_conditioning_modifier(modifier)

    def unet_dtype(self, p: Job) -> torch.dtype:
        return p.sd_model.forge_objects_original.unet.model.computation_dtype

    def keep_beside(self, unet: Unet, network: nn.Module, values: int) -> None:
        patcher = ModelPatcher(network, load_device=unet.load_device, offload_device=unet.offload_device)
        unet.add_extra_model_patcher_during_sampling(patcher)
        unet.add_extra_preserved_memory_during_sampling(values * unet.model.computation_dtype.itemsize)

    def around_calls(self, unet: Unet, modules: Sequence[str], around: Around) -> None:
        attentions = [unet.model.diffusion_model.get_submodule(name) for name in modules]
        earlier = unet.model_options.get("model_function_wrapper")

        def call(apply_model: Callable[..., Tensor], arguments: dict[str, Any]) -> Tensor:
            x = arguments["input"]
            with around(attentions, arguments["cond_or_uncond"], x.shape[0]):
                if earlier is not None:
                    return earlier(apply_model, arguments)
                return apply_model(x, arguments["timestep"], **arguments["c"])

        unet.set_model_unet_function_wrapper(call)

    def break_sampling(self, unet: Unet, error: LayerDiffuseError) -> None:
        def modifier(*args: Any) -> Any:
            raise error

        unet.add_conditioning_modifier(modifier)

    # --- text
    def encode_prompts(self, p: Job, texts: Sequence[str]) -> Tensor:
        prompts = prompt_parser.SdConditioning(list(texts), width=p.width, height=p.height)
        return p.sd_model.get_learned_conditioning(prompts).to(memory_management.get_torch_device())

    def is_plain_prompt(self, p: Job, text: str) -> bool:
        (schedule,) = prompt_parser.get_learned_conditioning_prompt_schedules([text], p.steps)
        return len(schedule) == 1 and prompt_parser.re_AND.search(text) is None

    # --- VAE
    def posterior(self, p: Job, pixels: Tensor) -> Posterior:
        vae = p.sd_model.forge_objects.vae
        model = vae.first_stage_model
        if not hasattr(model, "encoder") or not hasattr(model, "process_in"):
            raise IncompatibleHost(
                "LayerDiffuse cannot encode with the selected VAE; select the checkpoint's own."
            )
        x = 2 * pixels.movedim(-1, 1) - 1
        memory_management.load_models_gpu([vae.patcher], vae.memory_used_encode(x.shape, vae.vae_dtype))
        moments = model.encoder(x.to(device=vae.device, dtype=vae.vae_dtype))
        if model.quant_conv is not None:
            moments = model.quant_conv(moments)
        mean, logvar = moments.float().to(vae.output_device).chunk(2, dim=1)
        return Posterior(mean, logvar)

    def to_sampler(self, p: Job, latent: Tensor) -> Tensor:
        return p.sd_model.forge_objects.vae.first_stage_model.process_in(latent)

    def to_vae(self, p: Job, latent: Tensor) -> Tensor:
        return p.sd_model.forge_objects.vae.first_stage_model.process_out(latent)

    @contextmanager
    def encode_with(self, p: Job, encode: Callable[[EncodePixels, Tensor], Tensor]) -> Iterator[None]:
        model = p.sd_model
        before = model.forge_objects
        # before the first sampling, forge_objects still is what the last job left there
        vae = copy.copy(model.forge_objects_after_applying_lora.vae)
        original = vae.encode
        vae.encode = lambda pixels: encode(original, pixels)
        model.forge_objects = before.shallow_copy()
        model.forge_objects.vae = vae
        try:
            yield
        finally:
            model.forge_objects = before

    # --- pictures
    def resize_init_image(self, mode: int, image: Image.Image, width: int, height: int) -> Image.Image:
        return images.resize_image(mode, image, width, height, force_RGBA=True)

    def keep_alpha(self, picture: Image.Image) -> None:
        forge_saving.mark(picture)

    def name_layer(self, picture: Image.Image, layer: str) -> None:
        forge_saving.name_layer(picture, layer)

    def app_started(self, demo: Any, app: Any) -> None:
        forge_saving.install()
        self.accept_named_arguments()

    def before_image_saved(self, params: Any) -> None:
        forge_saving.before_image_saved(params, self.options())

    # --- networks of our own
    def adopt(
        self, network: Network, full_precision: bool = False
    ) -> Callable[[int], AbstractContextManager[Network]]:
        device, offload = memory_management.get_torch_device(), memory_management.unet_offload_device()
        half = not full_precision and memory_management.should_use_fp16(device)
        dtype = torch.float16 if half else torch.float32
        patcher = ModelPatcher(
            network.to(device=offload, dtype=dtype), load_device=device, offload_device=offload
        )

        @contextmanager
        def resident(values: int) -> Iterator[Network]:
            memory_management.load_models_gpu([patcher], memory_required=values * dtype.itemsize)
            yield patcher.model

        return resident

    def release(self, network: nn.Module) -> None:
        # the host drops models that nobody else knows only when it runs out of memory, on a CPU never
        for loaded in list(memory_management.current_loaded_models):
            if loaded.model.model is network:
                memory_management.unload_model_clones(loaded.model)
        # a patcher leaves a loader at the network that refers back to it, so only a garbage collection would
        # free hundreds of megabytes
        network.__dict__.pop("lora_loader", None)

    def free_memory(self) -> None:
        memory_management.unload_all_models()
        memory_management.soft_empty_cache(force=True)

    # --- page
    def image_input(self, label: str, elem_id: str) -> Any:
        from modules_forge.forge_canvas.canvas import ForgeCanvas

        picture = ForgeCanvas(numpy=True, no_scribbles=True, height=300, elem_id=elem_id).background
        # all canvases call it "background", which is what the web API would list
        picture.label = label
        return picture

    def accordion(self, label: str, elem_id: str) -> Any:
        from modules.ui_components import InputAccordion

        return InputAccordion(False, label=label, elem_id=elem_id)
