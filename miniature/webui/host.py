"""`lib_layerdiffusion.hosts.base.Host` over the miniature WebUI, on the CPU."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from lib_layerdiffusion.errors import LayerDiffuseError, UnsupportedMethod
from lib_layerdiffusion.files.layer_patch import Patch, Shape
from lib_layerdiffusion.hosts import (
    early_infotexts,
    forge_saving,
    forge_scripts,
    job_methods,
    left_out,
    saved_files,
)
from lib_layerdiffusion.hosts.base import Around, BaseModel, Network, Worn
from lib_layerdiffusion.hosts.capabilities import Capabilities
from lib_layerdiffusion.hosts.has_vae import EncodePixels, Posterior
from lib_layerdiffusion.hosts.own_weights import Kept
from lib_layerdiffusion.hosts.script_following import Begin
from lib_layerdiffusion.hosts.webui_page import accept_named_arguments
from lib_layerdiffusion.hosts.wrapping import wrap
from lib_layerdiffusion.methods import Family
from lib_layerdiffusion.request.options import Options
from lib_layerdiffusion.request.xyz_axes import Axis
from miniature.webui import images
from miniature.webui.checkpoints import Checkpoint
from miniature.webui.images import resize_image
from miniature.webui.patcher import Patcher, StepRule
from miniature.webui.processed import Processed
from miniature.webui.processing import Processing
from miniature.webui.state import state


class MiniatureHost:
    """Implements the protocol; `family` is what the loaded model claims to be, `dtype` what our networks
    compute in, `others` are what else can be loaded, by name. `reported` keeps only the last hundred lines.
    """

    name = "Miniature"
    lists_in_infotext = True
    api_answers_extra_images = True
    capabilities = Capabilities("the miniature", "every test run")

    def __init__(
        self,
        models_dir: Path,
        family: str = "sdxl",
        inpainting: bool = False,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        wrap(images, "save_image", saved_files.remembered)
        wrap(images, "image_grid", left_out.empty_in_grids)
        self._models_dir = models_dir
        self.family = family
        self.inpainting = inpainting
        self.title = ""
        self.lacks: tuple[str, ...] = ()
        self.dtype = dtype
        self.reported: list[tuple[str, float | None]] = []
        self.settings: dict[str, Any] = {}
        self.others: dict[str, Callable[[], Checkpoint]] = {}

    # --- surroundings
    def models_dir(self) -> Path:
        return self._models_dir

    def base_model(self, p: Processing) -> BaseModel:
        if p.webui.other is not None:
            return BaseModel(p.webui.other.family, p.webui.other.title)
        return BaseModel(self.family, self.title or f"the miniature ({self.family})", self.inpainting)

    def runs(self, family: Family) -> bool:
        return family.key not in self.lacks

    def later_models(self, p: Processing) -> Mapping[str, BaseModel]:
        chosen = {"refiner": p.refiner, "checkpoint for hires fix": p.hr_checkpoint}
        return {role: BaseModel(one.family, one.title) for role, one in chosen.items() if one and one.told}

    def fail(self, p: Processing, error: LayerDiffuseError) -> None:
        def refuse(original: Callable[..., None], *args: Any) -> None:
            raise error

        job_methods.around_next(p, "init", refuse)

    def say(self, p: Processing, text: str) -> None:
        p.comment(text)

    def report(self, text: str, fraction: float | None) -> None:
        self.reported = [*self.reported[-99:], (text, fraction)]

    def interrupted(self) -> bool:
        return state.interrupted

    def broken_off(self) -> bool:
        return state.interrupted or state.skipped

    def joins_results(self, p: Processing) -> bool:
        return p.run_by_script

    def evaluated(self, sampler: Any) -> bool:
        return bool(sampler.evaluations)

    @contextmanager
    def option(self, name: str, value: Any) -> Iterator[None]:
        yield

    # --- UNet
    def unet_parameters(self, p: Processing) -> Mapping[str, Shape | None]:
        return p.webui.original.shared.shapes()

    def unet(self, p: Processing) -> Patcher:
        return p.webui.patcher

    def clone(self, unet: Patcher) -> Patcher:
        return unet.clone()

    def install(self, p: Processing, unet: Patcher) -> None:
        p.webui.patcher = unet

    def mark(self, unet: Patcher, name: str) -> None:
        unet.mark = name

    def mark_of(self, unet: Patcher) -> str | None:
        return unet.mark

    def unet_without_scripts(self, p: Processing) -> Patcher:
        return p.webui.original

    def prepare_sampling(self, unet: Patcher, x: Tensor) -> None:
        """Here weights are merged when the model is asked."""

    def patch_weights(
        self, unet: Patcher, identity: str, patches: Mapping[str, Patch], strength: float
    ) -> int:
        unet.patches.append((identity, strength, patches))
        return sum(name in unet.shared.parameters for name in patches)

    def condition(
        self,
        p: Processing,
        unet: Patcher,
        original: Patcher,
        concat: Tensor | None,
        ending_step: float,
        seen: Callable[[], None],
        worn: Worn | None = None,
    ) -> Callable[[], None]:
        unet.rule = StepRule(original, p.webui.schedule.percent_to_sigma(ending_step), concat, seen)
        unet.rule.worn = None if worn is None else worn.kept.weights
        return unet.rule.release

    def keep_merged(self, unet: Patcher, original: Patcher, x: Tensor) -> Any:
        weights = {name: unet.shared.parameters[name].data for name in unet.patches_by_name()}
        return Kept(unet.shared.network, weights, {}, Kept.sample_of(weights))

    def can_wear(self, kept: Any, original: Patcher) -> bool:
        return bool(kept.network is original.shared.network and not original.patches)

    def unet_dtype(self, p: Processing) -> torch.dtype:
        return torch.float32

    def keep_beside(self, unet: Patcher, network: nn.Module, values: int) -> None:
        """Everything is in memory here."""

    def around_calls(self, unet: Patcher, modules: Sequence[str], around: Around) -> None:
        if unet.attention_replaced:
            raise UnsupportedMethod("Another extension replaces the model's attention.")
        unet.around = [unet.shared.network.get_submodule(name) for name in modules], around

    def break_sampling(self, unet: Patcher, error: LayerDiffuseError) -> None:
        unet.error = error

    # --- text
    @torch.inference_mode()
    def encode_prompts(self, p: Processing, texts: Sequence[str]) -> Tensor:
        return p.webui.base.text(list(texts))[0]

    def prompt_loras(self, p: Processing) -> Collection[str]:
        return re.findall(r"<lora:([^:>]+)", " ".join(p.all_prompts))

    def is_plain_prompt(self, p: Processing, text: str) -> bool:
        return "[" not in text and " AND " not in text

    # --- VAE
    @torch.inference_mode()
    def posterior(self, p: Processing, pixels: Tensor) -> Posterior:
        return Posterior(*p.webui.base.vae.moments(2 * pixels.movedim(-1, 1) - 1))

    def to_sampler(self, p: Processing, latent: Tensor) -> Tensor:
        return p.webui.base.vae.process_in(latent)

    def to_vae(self, p: Processing, latent: Tensor) -> Tensor:
        return p.webui.base.vae.process_out(latent)

    def in_its_form(self, p: Processing, latent: Tensor) -> Tensor:
        return latent

    def as_first_pass(self, p: Processing, pictures: Tensor) -> Tensor:
        return pictures.movedim(1, -1)

    @contextmanager
    def encode_with(
        self, p: Processing, encode: Callable[[EncodePixels, Tensor], Tensor]
    ) -> Iterator[Callable[[], bool]]:
        original = p.webui.encode
        ours = p.webui.encode = lambda pixels: encode(original, pixels)  # type: ignore[method-assign]
        try:
            yield lambda: vars(p.webui).get("encode") is ours
        finally:
            vars(p.webui).pop("encode", None)

    # --- pictures
    def tiles(self, p: Processing) -> bool:
        return p.tiling

    def resize_init_image(self, mode: int, image: Image.Image, width: int, height: int) -> Image.Image:
        return resize_image(mode, image, width, height)

    def colour_corrected(self, p: Processing, picture: Image.Image) -> Image.Image:
        return images.color_corrected(picture, p.color_corrections, p.batch_index)

    def keep(self, picture: Image.Image) -> None:
        forge_saving.mark(picture)

    def keeps_every(self) -> bool:
        return self.options().keep_every

    def name_layer(self, picture: Image.Image, layer: str) -> None:
        forge_saving.name_layer(picture, layer)

    def follow_scripts(self, begin: Begin) -> None:
        self.begin_script = begin

    def script_run(self) -> Any:
        return forge_scripts.current()

    # --- jobs of our own script in the list
    def run_job(self, p: Processing) -> Processed:
        return p.webui.process_images(p)

    def without_picture(self, p: Processing) -> Processing:
        made = copy.copy(p)
        made.init_images, made.image_mask = [], None
        return made

    def with_picture(self, p: Processing, picture: Image.Image, denoising: float) -> Processing:
        made = copy.copy(p)
        made.init_images, made.image_mask, made.resize_mode = [picture], None, 0
        made.denoising_strength, made.enable_hr = denoising, False
        made.width, made.height = picture.size
        return made

    def checkpoints(self) -> Sequence[str]:
        return list(self.others)

    def checkpoint_named(self, name: str) -> str | None:
        return next((one for one in self.others if name.lower() in one.lower()), None)

    @contextmanager
    def other_checkpoint(self, p: Processing, job: Processing, name: str) -> Iterator[None]:
        job.checkpoint = self.others[name]()
        try:
            yield
        finally:
            p.webui.select()

    def fixed_seed(self, p: Processing) -> int:
        return p.seed[0] if isinstance(p.seed, list) else p.seed

    def samplers(self) -> Sequence[str]:
        return ("Euler a",)

    def expect_jobs(self, count: int) -> None:
        """There is no progress bar."""

    def save_result(self, p: Processing, picture: Image.Image, infotext: str) -> Path | None:
        webui = p.webui
        if webui.outputs is None or p.do_not_save_samples:
            return None
        saved, _ = images.save_image(picture, webui.outputs, "", webui.samples_format, infotext, p.scripts, p)
        return Path(saved)

    def app_started(self, demo: Any, app: Any) -> None:
        """`app` is the class of the web API, None where there is none."""
        if app is not None:
            accept_named_arguments(app)

    def early_infotext(self, p: Processing) -> str | None:
        return p.webui.infotext(p) if p.webui.writes_infotexts_early else None

    def before_image_saved(self, params: Any) -> None:
        early_infotexts.before_image_saved(params)
        forge_saving.before_image_saved(params, self.options())

    # --- networks
    def compute_device(self) -> torch.device:
        return torch.device("cpu")

    def adopt(
        self, network: Network, full_precision: bool = False
    ) -> Callable[[int], AbstractContextManager[Network]]:
        kept = network.to(torch.float32 if full_precision else self.dtype)

        @contextmanager
        def resident(values: int) -> Iterator[Network]:
            yield kept

        return resident

    def release(self, network: nn.Module) -> None:
        """Nothing is remembered here."""

    def free_memory(self) -> None:
        """Nothing is held here."""

    # --- page
    def options(self) -> Options:
        return Options.of(self.settings)

    def add_settings(self) -> None:
        """There is no settings page."""

    def add_axes(self, axes: Sequence[Axis]) -> None:
        """There are no plots."""

    def selected_model(self, name: str | None = None) -> BaseModel | None:
        family = name or self.family
        return BaseModel(family, f"the miniature ({family})")

    def image_input(self, label: str, elem_id: str) -> Any:
        from miniature.webui import components

        return components.picture_input(label, elem_id)

    def accordion(self, label: str, elem_id: str) -> Any:
        from miniature.webui.components import EnabledAccordion

        return EnabledAccordion(label, elem_id)
