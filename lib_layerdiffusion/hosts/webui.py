"""What all kinds of Forge have in common: the package `modules`, and how a UNet patcher is used.

An adapter fills in what differs: where the memory manager, the patcher class, the noise schedule and the
latent scaling are found, how a weight patch is written down, and how an upload looks.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import torch
from modules import images, paths, processing, prompt_parser, shared
from PIL import Image
from torch import Tensor, nn

from lib_layerdiffusion.errors import LayerDiffuseError, UnsupportedMethod
from lib_layerdiffusion.files.layer_patch import Lora, Patch, Shape
from lib_layerdiffusion.hosts import forge_saving, job_methods
from lib_layerdiffusion.hosts.base import (
    Around,
    Job,
    Network,
    Unet,
    Worn,
)
from lib_layerdiffusion.hosts.capabilities import Capabilities
from lib_layerdiffusion.hosts.forge_sampling import AwaitedCalls, StepModifier
from lib_layerdiffusion.hosts.own_weights import KeepsOwnWeights
from lib_layerdiffusion.hosts.webui_jobs import WebUIJobs
from lib_layerdiffusion.hosts.webui_models import WebUIModels
from lib_layerdiffusion.hosts.webui_own_jobs import WebUIOwnJobs
from lib_layerdiffusion.hosts.webui_page import WebUIPage
from lib_layerdiffusion.hosts.webui_state import WebUIState
from lib_layerdiffusion.hosts.webui_vae import WebUIVae

MARK = "layerdiffuse"
CALLS = "layerdiffuse_calls"


class WebuiHost(KeepsOwnWeights, WebUIJobs, WebUIModels, WebUIOwnJobs, WebUIPage, WebUIState, WebUIVae):
    """The part of `hosts.base.Host` that every kind of Forge shares."""

    name: str
    capabilities: Capabilities
    lists_in_infotext = True
    api_answers_extra_images = True

    # --- what an adapter fills in
    memory: Any
    """The host's memory manager, a module."""
    make_patcher: Callable[..., Any]
    """Called with a network, `load_device` and `offload_device`: what the memory manager loads."""
    make_condition: Callable[[Tensor], Any]
    """Wrap a tensor so that the host repeats it to any batch."""
    prepare_sampling: Callable[[Any, Tensor], None]
    """Have a patcher's weights merged and on the device, for latents like the tensor."""

    _beside: Any = None
    """The patcher of the network that samples beside a UNet, from one job to the next: hosts whose memory
    manager knows patchers by weak references drop the network from its books when its patcher is gone."""

    def sigma(self, unet: Unet, percent: float) -> float:
        """The noise level at a fraction of the schedule's timesteps."""
        raise NotImplementedError

    def weight_patches(self, patches: Mapping[str, Patch]) -> dict[str, Any]:
        """Write weight patches down as the host's patcher takes them: here as Forge always took them."""
        return {
            name: ("lora", [patch.up, patch.down, None, None, None])
            if isinstance(patch, Lora)
            else ("diff", [patch.delta])
            for name, patch in patches.items()
        }

    def computation_dtype(self, unet: Unet) -> torch.dtype:
        raise NotImplementedError

    def forget(self, loaded: Any) -> None:
        """Take an entry out of the memory manager's list of loaded models."""
        raise NotImplementedError

    def image_input(self, label: str, elem_id: str) -> Any:
        raise NotImplementedError

    # --- surroundings
    def models_dir(self) -> Path:
        return Path(paths.models_path)

    def fail(self, p: Job, error: LayerDiffuseError) -> None:
        # what a hook raises is logged and forgotten; what `init` raises ends the job and is shown
        def refuse(original: Callable[..., None], *args: Any) -> None:
            raise error

        job_methods.around_next(p, "init", refuse)

    def say(self, p: Job, text: str) -> None:
        p.comment(text)

    def evaluated(self, sampler: Any) -> bool:
        denoiser = getattr(sampler, "model_wrap_cfg", None)
        return getattr(denoiser, "step", None) != 0

    def joins_results(self, p: Job) -> bool:
        # the first argument is the number of the script that was selected, 0 or None where none is
        return bool(p.script_args and p.script_args[0])

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
        own = {**dict(unet.model.named_parameters()), **self.unet_backups(unet)}
        return {name: None if self.is_packed(weight) else tuple(weight.shape) for name, weight in own.items()}

    def unet(self, p: Job) -> Unet:
        return p.sd_model.forge_objects.unet

    def clone(self, unet: Unet) -> Unet:
        return unet.clone()

    def install(self, p: Job, unet: Unet) -> None:
        p.sd_model.forge_objects.unet = unet

    def mark(self, unet: Unet, name: str) -> None:
        unet.model_options[MARK] = name

    def mark_of(self, unet: Unet) -> str | None:
        return unet.model_options.get(MARK)

    def unet_without_scripts(self, p: Job) -> Unet:
        return p.sd_model.forge_objects_after_applying_lora.unet

    def patch_weights(self, unet: Unet, identity: str, patches: Mapping[str, Patch], strength: float) -> int:
        return len(unet.add_patches(patches=self.weight_patches(patches), strength_patch=float(strength)))

    def condition(
        self,
        p: Job,
        unet: Unet,
        original: Unet,
        concat: Tensor | None,
        ending_step: float,
        seen: Callable[[], None],
        worn: Worn | None = None,
    ) -> Callable[[], None]:
        # the host's own slot for `concat` takes one only if its batch equals the latents', or not at all
        modifier = StepModifier(
            current=lambda: p.sd_model.forge_objects.unet,
            original=original,
            sigma_end=self.sigma(original, ending_step),
            concat=concat,
            prepare=self.prepare_sampling,
            own_weights=lambda patcher, x: self.own_weights(patcher, original, x),
            make_condition=self.make_condition,
            seen=seen,
            calls=unet.model_options.get(CALLS),
            worn=None
            if worn is None
            else lambda patcher, x: self.worn_weights(patcher, original, worn.kept, x),
            plain=None if worn is None else worn.plain,
        )
        unet.add_conditioning_modifier(modifier)
        return modifier.release

    def unet_dtype(self, p: Job) -> torch.dtype:
        return self.computation_dtype(p.sd_model.forge_objects_original.unet)

    def keep_beside(self, unet: Unet, network: nn.Module, values: int) -> None:
        patcher = self._beside
        if patcher is None or patcher.model is not network:
            patcher = self.make_patcher(
                network, load_device=unet.load_device, offload_device=unet.offload_device
            )
        self._beside = patcher
        unet.add_extra_model_patcher_during_sampling(patcher)
        unet.add_extra_preserved_memory_during_sampling(values * self.computation_dtype(unet).itemsize)

    def around_calls(self, unet: Unet, modules: Sequence[str], around: Around) -> None:
        attentions = [unet.model.diffusion_model.get_submodule(name) for name in modules]
        earlier = unet.model_options.get("model_function_wrapper")
        _check_attention(unet.model_options["transformer_options"])
        calls = unet.model_options[CALLS] = AwaitedCalls()

        def call(apply_model: Callable[..., Tensor], arguments: dict[str, Any]) -> Tensor:
            calls.came()
            if calls.paused:
                if earlier is not None:
                    return earlier(apply_model, arguments)
                return apply_model(arguments["input"], arguments["timestep"], **arguments["c"])
            # a script that comes after this one may have replaced it since
            _check_attention(arguments["c"]["transformer_options"])
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
        return p.sd_model.get_learned_conditioning(prompts).to(self.memory.get_torch_device())

    def prompt_loras(self, p: Job) -> Collection[str]:
        networks = getattr(p, "extra_network_data", None) or {}
        return [one.positional[0] for one in networks.get("lora", ()) if one.positional]

    def is_plain_prompt(self, p: Job, text: str) -> bool:
        (schedule,) = prompt_parser.get_learned_conditioning_prompt_schedules([text], p.steps)
        # editing that begins after the last step leaves one entry too, of another text
        return [part for _, part in schedule] == [text] and prompt_parser.re_AND.search(text) is None

    # --- pictures
    def resize_init_image(self, mode: int, image: Image.Image, width: int, height: int) -> Image.Image:
        return images.resize_image(mode, image, width, height, force_RGBA=True)

    def colour_corrected(self, p: Job, picture: Image.Image) -> Image.Image:
        targets = p.color_corrections or []
        if p.batch_index >= len(targets):
            return picture
        return processing.apply_color_correction(targets[p.batch_index], picture)

    def keep(self, picture: Image.Image) -> None:
        forge_saving.mark(picture)

    def name_layer(self, picture: Image.Image, layer: str) -> None:
        forge_saving.name_layer(picture, layer)

    def early_infotext(self, p: Job) -> str | None:
        return None

    def app_started(self, demo: Any, app: Any) -> None:
        forge_saving.install(self.keeps_every)
        self.accept_named_arguments()

    def before_image_saved(self, params: Any) -> None:
        forge_saving.before_image_saved(params, self.options())

    # --- networks of our own
    def compute_device(self) -> torch.device:
        return torch.device(self.memory.get_torch_device())

    def adopt(
        self, network: Network, full_precision: bool = False
    ) -> Callable[[int], AbstractContextManager[Network]]:
        device, offload = self.compute_device(), self.memory.unet_offload_device()
        half = not full_precision and self.memory.should_use_fp16(device)
        dtype = torch.float16 if half else torch.float32
        patcher = self.make_patcher(
            network.to(device=offload, dtype=dtype), load_device=device, offload_device=offload
        )

        @contextmanager
        def resident(values: int) -> Iterator[Network]:
            self.memory.load_models_gpu([patcher], memory_required=values * dtype.itemsize)
            yield patcher.model

        return resident

    def release(self, network: nn.Module) -> None:
        if self._beside is not None and self._beside.model is network:
            self._beside = None
        # hosts drop models that nobody else knows only when they run out of memory, on a CPU never
        for loaded in list(self.memory.current_loaded_models):
            if getattr(loaded.model, "model", None) is network:
                self.forget(loaded)

    def free_memory(self) -> None:
        self.memory.unload_all_models()
        self.memory.soft_empty_cache(force=True)

    # --- page
    def accordion(self, label: str, elem_id: str) -> Any:
        from modules.ui_components import InputAccordion

        return InputAccordion(False, label=label, elem_id=elem_id)


def _check_attention(options: Mapping[str, Any]) -> None:
    """Raise UnsupportedMethod where attention modules are bypassed: hosts call what replaces them instead."""
    replaced = options.get("patches_replace", {})
    if replaced.get("attn1") or replaced.get("attn2"):
        raise UnsupportedMethod(
            "Another extension replaces the model's attention (IP-Adapter, InstantID, some regional "
            "prompts), which the SD1.5 methods of LayerDiffuse share. Switch it off, or use an SDXL method."
        )
