"""What the core needs of a WebUI: one protocol, implemented once per host."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from PIL import Image
from torch import Tensor, nn

from lib_layerdiffusion.errors import LayerDiffuseError
from lib_layerdiffusion.files.layer_patch import Patch, Shape
from lib_layerdiffusion.files.progress import Watch
from lib_layerdiffusion.hosts.capabilities import Capabilities
from lib_layerdiffusion.hosts.has_vae import HasVae
from lib_layerdiffusion.hosts.runs_jobs import RunsJobs
from lib_layerdiffusion.hosts.script_following import Begin
from lib_layerdiffusion.methods import Family
from lib_layerdiffusion.request.options import Options
from lib_layerdiffusion.request.xyz_axes import Axis

Network = TypeVar("Network", bound=nn.Module)

Unet = Any
"""A host's model patcher. The core passes it back and forth and never looks inside."""

Job = Any
"""A host's processing object, `p` in its hooks."""

Around = Callable[[Sequence[nn.Module], Sequence[int], int], AbstractContextManager[None]]


@dataclass(frozen=True)
class BaseModel:
    """The loaded checkpoint: a family's key or "" for others, and a title for messages."""

    family: str
    title: str
    inpainting: bool = False


@dataclass(frozen=True)
class Worn:
    """Weights to sample with in the place of those that are merged: what `keep_merged` returned.

    `plain` is the patcher that has the host merge the same, for where they cannot be worn.
    """

    kept: Any
    plain: Unet


class Host(Watch, HasVae, RunsJobs, Protocol):
    """Also what shows the progress of long work, says whether Interrupt was pressed, and runs whole jobs.

    Shapes: pixels [B, H, W, 3] in [0, 1]; latents [B, 4, h, w], or as many channels as the model has. VAE
    space is what the VAE's decoder takes, sampler space what the UNet takes: VAE space times the
    model's scaling factor.
    """

    name: str
    capabilities: Capabilities
    lists_in_infotext: bool
    """A list among the generation parameters has one entry for each picture."""
    api_answers_extra_images: bool
    """The web API's answer holds a job's extra pictures."""

    # --- surroundings
    def models_dir(self) -> Path:
        """The folder that holds the host's model folders."""
        ...

    def base_model(self, p: Job) -> BaseModel: ...

    def runs(self, family: Family) -> bool:
        """True where the host has models of this family at all."""
        ...

    def later_models(self, p: Job) -> Mapping[str, BaseModel]:
        """The checkpoints that this job will put in the place of the loaded one, by what they are chosen as.

        As far as that can be told without loading them.
        """
        ...

    def fail(self, p: Job, error: LayerDiffuseError) -> None:
        """Before sampling: make the job end with this error, visible in page and API.

        Jobs that other scripts run over copies of `p` meanwhile have no part in it.
        """
        ...

    def broken_off(self) -> bool:
        """True from the moment the user asked to end the batch at hand, by Interrupt or Skip."""
        ...

    def evaluated(self, sampler: Any) -> bool:
        """False where the pass that a sampler made, `p.sampler` of its time, ended before it asked the model.

        Hosts look at their buttons before any patch of a model is asked.
        """
        ...

    def say(self, p: Job, text: str) -> None:
        """Show a sentence under the pictures of this job."""
        ...

    def joins_results(self, p: Job) -> bool:
        """True where a script of the host runs the job, and goes by the places of its pictures."""
        ...

    def option(self, name: str, value: Any) -> AbstractContextManager[None]:
        """Set a host option for the duration of a block; one that the host lacks is ignored."""
        ...

    # --- UNet
    def unet_parameters(self, p: Job) -> Mapping[str, Shape | None]:
        """Names and shapes of the unpatched UNet's parameters; None where a weight is stored packed."""
        ...

    def unet(self, p: Job) -> Unet:
        """The patcher that the next sampling will use."""
        ...

    def clone(self, unet: Unet) -> Unet: ...

    def install(self, p: Job, unet: Unet) -> None:
        """Make the next sampling use this patcher; the host forgets it afterwards."""
        ...

    def mark(self, unet: Unet, name: str) -> None: ...

    def mark_of(self, unet: Unet) -> str | None:
        """The name that `mark` gave this patcher, or the one it is a clone of; None for one without."""
        ...

    def unet_without_scripts(self, p: Job) -> Unet:
        """The patcher of the loaded checkpoint with its LoRAs, before any script's patches."""
        ...

    def prepare_sampling(self, unet: Unet, x: Tensor) -> None:
        """Have a patcher's weights merged and on the device, for latents like `x`, while sampling goes on."""
        ...

    def patch_weights(self, unet: Unet, identity: str, patches: Mapping[str, Patch], strength: float) -> int:
        """Register weight patches; return how many found their parameter. `identity` names their content."""
        ...

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
        """Say what happens at each step of sampling with `unet`, which calls `seen`.

        `concat` [1, 4n, h, w] (sampler space) joins the UNet's input by channel, for any batch, cond and
        uncond. Where sigma is below that of `ending_step` (0..1, a fraction of the schedule's timesteps), the
        model goes on without it and with the weights of `original`. Above, it computes with `worn`, if given,
        in the place of what is merged of `unet`. Returns what frees the memory that this takes; call it when
        sampling is over.
        """
        ...

    def keep_merged(self, unet: Unet, original: Unet, x: Tensor) -> Any:
        """After sampling latents like x with `unet`: what is merged of it beyond `original`, to be worn.

        None where that cannot be kept.
        """
        ...

    def can_wear(self, kept: Any, original: Unet) -> bool:
        """True if what was kept goes with this patcher: the same model, with the same patches."""
        ...

    def unet_dtype(self, p: Job) -> torch.dtype:
        """What the UNet computes in."""
        ...

    def keep_beside(self, unet: Unet, network: nn.Module, values: int) -> None:
        """Have `network`, in the UNet's dtype, on the device while `unet` samples, and room beside it."""
        ...

    def around_calls(self, unet: Unet, modules: Sequence[str], around: Around) -> None:
        """Enter `around(attentions, cond_or_uncond, rows)` for each call of the diffusion model.

        `attentions` are its `modules` by name; the call's `rows` rows are equal chunks of positive (0) or
        negative (1) prompts.
        """
        ...

    def break_sampling(self, unet: Unet, error: LayerDiffuseError) -> None:
        """Make sampling with this patcher raise the error: what a hook raises is swallowed by hosts."""
        ...

    # --- text
    def encode_prompts(self, p: Job, texts: Sequence[str]) -> Tensor:
        """Positive conditions [n, tokens, channels] of an SD1.5 model, on the device it samples on."""
        ...

    def prompt_loras(self, p: Job) -> Collection[str]:
        """The names of the LoRAs that the job's prompt asks for."""
        ...

    def is_plain_prompt(self, p: Job, text: str) -> bool:
        """False for a prompt that changes while sampling, or combines several."""
        ...

    # --- pictures
    def tiles(self, p: Job) -> bool:
        """True for a job whose pictures go on at their opposite border ("Tiling")."""
        ...

    def resize_init_image(self, mode: int, image: Image.Image, width: int, height: int) -> Image.Image:
        """Resize an RGBA init image as the host does: 0 stretch, 1 crop, 2 fill. Keeps alpha."""
        ...

    def colour_corrected(self, p: Job, picture: Image.Image) -> Image.Image:
        """Return the picture at hand with the host's own colour correction, if one is set for it.

        Hosts make it after all scripts' `postprocess_image`, and lay an inpainted original over the result.
        """
        ...

    def keep(self, picture: Image.Image) -> None:
        """Remember that this picture is ours: no format that is set keeps it from being sent, and its
        transparency survives saving, showing and sending."""
        ...

    def keeps_every(self) -> bool:
        """True where the transparency of every picture is to be kept, whoever made it. Raises nothing."""
        ...

    def name_layer(self, picture: Image.Image, layer: str) -> None:
        """Have this picture's file name end with the name of its layer."""
        ...

    def follow_scripts(self, begin: Begin) -> None:
        """Ask `begin` at each run of a script from the host's list, and what it returns while that lasts."""
        ...

    def script_run(self) -> Any:
        """What `begin` returned for the script that is running, None where none is."""
        ...

    def early_infotext(self, p: Job) -> str | None:
        """Return what was written for the picture at hand; None where that is done when it is finished."""
        ...

    # --- the page and files as they come
    def app_started(self, demo: Any, app: Any) -> None:
        """Host callback: page and API exist."""
        ...

    def before_image_saved(self, params: Any) -> None:
        """Host callback: `params.image` is about to be written to `params.filename`."""
        ...

    # --- networks of our own
    def compute_device(self) -> torch.device:
        """Return the device that adopted networks compute on."""
        ...

    def adopt(
        self, network: Network, full_precision: bool = False
    ) -> Callable[[int], AbstractContextManager[Network]]:
        """Put the network under the host's memory manager, in the dtype that suits its device, or float32.

        Returns `resident(values)`: within its block the network is on the compute device, with room beside
        it for that many values of its dtype.
        """
        ...

    def release(self, network: nn.Module) -> None:
        """Have the host forget a network that `adopt` or `keep_beside` told it of, and so free its memory."""
        ...

    def free_memory(self) -> None:
        """After memory ran out: give back what the device holds without need."""
        ...

    # --- page
    def options(self) -> Options:
        """The settings page's values, as overridden for the current request. Raises BadSetting."""
        ...

    def add_settings(self) -> None:
        """Host callback: have the settings page show `options.OPTIONS`."""
        ...

    def add_axes(self, axes: Sequence[Axis]) -> None:
        """Host callback: offer these axes in the X/Y/Z plot."""
        ...

    def selected_model(self, name: str | None = None) -> BaseModel | None:
        """The checkpoint that the page calls `name`, or else the one selected, told without loading it.

        None where that cannot be told.
        """
        ...

    def image_input(self, label: str, elem_id: str) -> Any:
        """A picture upload that keeps alpha, as a component of the page."""
        ...

    def accordion(self, label: str, elem_id: str) -> AbstractContextManager[Any]:
        """The panel: what is built inside belongs to it, and entering it gives its Enabled component."""
        ...
