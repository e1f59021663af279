"""One generation: settings and a host, from the checks before sampling to the decoded picture."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lib_layerdiffusion.errors import GenerationFailed, WrongWeights
from lib_layerdiffusion.hosts.base import Host, Job, Unet, Worn
from lib_layerdiffusion.job import fitting_checkpoint, hidden_alpha, scene_prompts, wardrobe
from lib_layerdiffusion.job.scene_attention import SharedAttention
from lib_layerdiffusion.job.wardrobe import Merged
from lib_layerdiffusion.methods import Injection, Layer
from lib_layerdiffusion.models.attention_sharing import UNIT_MODULES
from lib_layerdiffusion.models.encoder_and_decoder import LATENT_SCALE
from lib_layerdiffusion.networks import LayerFile, Networks
from lib_layerdiffusion.pictures.arithmetic import (
    FloatImage,
    Uint8Image,
    condition_rgb,
    to_uint8,
)
from lib_layerdiffusion.pictures.edits import carry_edit
from lib_layerdiffusion.request.options import Options
from lib_layerdiffusion.request.settings import Settings

logger = logging.getLogger("layerdiffuse")


class Generation:
    """What one job does to its UNet and its pictures. Every method may raise LayerDiffuseError."""

    def __init__(self, host: Host, networks: Networks, settings: Settings, options: Options) -> None:
        self.host = host
        self.settings = settings
        self.options = options
        self.method = settings.method
        self._networks = networks
        self._alpha = hidden_alpha.of(host, networks, settings.method.family, options, self.say)
        self._conditions: dict[tuple[str, Layer, int, int], Tensor] = {}
        self._signals: dict[tuple[int, int], dict[int, Tensor]] = {}
        self._shared: SharedAttention | None = None
        self._release: Callable[[], None] | None = None
        self._unseen = self._announced = self._taken = False
        self._mark = ""
        self._sampler: Any = None
        self._check_merged: Callable[[], None] = lambda: None
        self._keep_merged: Callable[[], None] = lambda: None
        self.said: list[str] = []
        self._job: Job | None = None

    def prepare(self, p: Job, encodes_pictures: bool) -> None:
        """Check everything that can be checked before sampling, and fetch and load what will be needed.

        `encodes_pictures`: the job starts from RGBA pictures (img2img). Changes nothing of the host's.
        """
        self._job = p
        self._networks.use(self.options)
        self.settings.require_pictures()
        if self._injects:
            self._check_checkpoint(p)
            fitting_checkpoint.check_later(self.host, p, self.method)
        if self.method.decodes_alpha:
            self._alpha.prepare(encodes_pictures)

    def say(self, text: str) -> None:
        """Show a sentence under the pictures, once; all of them are kept in `said`."""
        if text not in self.said:
            self.said.append(text)
            self.show(text)

    def show(self, text: str) -> None:
        """Show a sentence under the pictures that is told elsewhere too."""
        logger.warning("%s", text)
        self.host.say(self._job, text)

    def _check_checkpoint(self, p: Job) -> None:
        fitting_checkpoint.check(self.host, p, self.method)
        fitting_checkpoint.check_weights(self.host, self._networks, p, self.method)

    def patch(self, p: Job, height: int, width: int) -> None:
        """Give the coming sampling, of latents [B, 4, height, width], a patched clone of its UNet.

        Hosts may ask twice for one sampling; a UNet that is already ours stays as it is.
        """
        if not getattr(p, "is_hr_pass", False):
            self._taken = False
        self._announced = False
        self._patch(p, height, width)

    def _patch(self, p: Job, height: int, width: int) -> None:
        host, settings = self.host, self.settings
        original = host.unet(p)
        if host.mark_of(original) is not None or not self._patches:
            return
        # a highres pass or a refiner may sample with another checkpoint than the first
        self._check_checkpoint(p)
        self.finish()
        unet = host.clone(original)
        concat = worn = None
        if self.method.family.injection is Injection.ATTENTION_SHARING:
            self._share_attention(p, unet, height, width)
        else:
            unet, worn = self._patch_weights(p, unet, original, height, width)
            if self.method.pictures:
                concat = self._condition(p, height, width)
        self._release = host.condition(p, unet, original, concat, settings.ending_step, self._seen, worn)
        self._unseen, self._sampler = True, p.sampler
        self._mark = uuid.uuid4().hex
        host.mark(unet, self._mark)
        host.install(p, unet)
        logger.info("%s: patched, weight %g", self.method.label, settings.weight)

    def _patch_weights(
        self, p: Job, unet: Unet, original: Unet, height: int, width: int
    ) -> tuple[Unet, Worn | None]:
        """Give `unet` the patches of the method's file; return it, and what it wears.

        Where what was merged of this file can be worn, it is another: with the patches that are merged.
        """
        if self.method.family.injection is Injection.LORA:
            file = fitting_checkpoint.lora_of(self.host, self._networks, p, self.method)
            self._say_of_lora(p, file)
        else:
            file = self._networks.layer_file(self.method)
        key = file.identity, self.settings.weight
        matched = self.host.patch_weights(unet, file.identity, file.patches, self.settings.weight)
        if matched != len(file.patches):
            raise WrongWeights(
                f"Only {matched} of the {len(file.patches)} patches in {file.filename} found their place in "
                "the model."
            )
        self._check_merged = file.check
        used = wardrobe.of(p)
        if used is None:
            return unet, None
        kept = used.find(self.host, key, original)
        if kept is not None and used.loaded is not None:
            dressed, (identity, weight) = self.host.clone(original), used.loaded.key
            self.host.patch_weights(dressed, identity, used.loaded.patches, weight)
            return dressed, Worn(kept, unet)
        latents = torch.empty((1, self.method.family.channels, height, width), device="meta")

        def keep() -> None:
            used.loaded = Merged(key, file.patches)
            used.kept[key] = self.host.keep_merged(unet, original, latents)

        self._keep_merged = keep
        return unet, None

    def _say_of_lora(self, p: Job, file: LayerFile) -> None:
        if file.left_out:
            self.say(
                f"{file.filename} also changes how the prompt is read ({len(file.left_out)} parts), which "
                "cannot be done for one job; that part is left out."
            )
        if self.method.weights.name in self.host.prompt_loras(p):
            self.say(
                f'The prompt asks for the LoRA "{self.method.weights.name}" as well, so it works twice. Take '
                "it out of the prompt."
            )

    @property
    def _injects(self) -> bool:
        return self.method.family.injection is not Injection.NONE

    @property
    def _patches(self) -> bool:
        return self._injects and self.settings.weight != 0 and self.settings.ending_step != 0

    def before_step(self, p: Job, x: Tensor) -> None:
        """Patch what the host samples with from now on, if that is no longer what was patched.

        It goes on with a refiner, say. Called before each evaluation of latents like `x` [B, 4, h, w].
        """
        host = self.host
        if not self._patches:
            if remove_leftover(host, p):
                host.prepare_sampling(host.unet(p), x)
            return
        self._taken = self._taken or self._announced
        self._announced = True
        if host.mark_of(host.unet(p)) == self._mark:
            return
        remove_leftover(host, p)
        self._patch(p, *x.shape[-2:])
        host.prepare_sampling(host.unet(p), x)

    def _seen(self) -> None:
        self._unseen = self._announced = False
        # hosts merge just before the first step, or between two
        self._check_merged()

    def end_pass(self) -> None:
        """Say that a sampling pass is over."""
        # one that ended before its first step had no use for any model
        skipped = self._unseen and self.host.evaluated(self._sampler)
        self._taken = self._taken or self._announced or skipped
        self._unseen, self._announced, self._sampler = False, False, None
        self._alpha.sampled()
        self._keep_merged()
        self._keep_merged = lambda: None

    def check_sampled(self, latent: Tensor | None) -> None:
        """Raise GenerationFailed if a pass of this batch did without the UNet that was prepared for it.

        Also if its latent [4, h, w], None where there is none, holds NaN or infinity. Raises WeightsError if
        the layer file could not be read when the host merged it.
        """
        self._check_merged()
        if self._taken:
            raise GenerationFailed(
                "Another extension put its own model in the place of the one that LayerDiffuse had prepared. "
                "Switch extensions that change the model off one by one to find it."
            )
        if latent is not None and not torch.isfinite(latent).all():
            raise GenerationFailed(
                "Sampling gave values that are not numbers (NaN), so there is no picture. Try another "
                "sampler, a lower Weight, or start the WebUI with its full precision options."
            )

    def finish(self) -> None:
        """Free what a sampling pass computed; the host still holds the patcher that used it."""
        if self._shared is not None:
            self._shared.release()
            self._shared = None
        if self._release is not None:
            self._release()
            self._release = None

    def forget(self) -> None:
        """End the job: free what only it used, and the networks unless they are to be kept."""
        self.finish()
        if not self.options.keep_networks:
            self._networks.clear()

    def _share_attention(self, p: Job, unet: Unet, height: int, width: int) -> None:
        picture = None
        for layer in self.method.pictures:
            picture = torch.from_numpy(self._condition_rgb(layer, height, width)).permute(2, 0, 1)[None]
        network = self._networks.sharing(self.method, self.host.unet_dtype(p))
        signals = self._signals.setdefault((height, width), {})
        prompts = scene_prompts.conditions(self.host, p, self.settings)
        shared = SharedAttention(network, self.settings.weight, prompts, picture, signals)
        self.host.keep_beside(unet, network, network.merged_values())
        self.host.around_calls(unet, UNIT_MODULES, shared.active)
        self._shared = shared

    def _condition_rgb(self, layer: Layer, height: int, width: int) -> FloatImage:
        """The condition picture of latents [height, width]: RGB [8 * height, 8 * width, 3] in [0, 1]."""
        return condition_rgb(
            self.settings.pictures[layer],
            self.settings.resize_mode,
            height * LATENT_SCALE,
            width * LATENT_SCALE,
        )

    def _condition(self, p: Job, height: int, width: int) -> Tensor:
        """Latents of the condition pictures joined by channel, [1, 4n, height, width], sampler space."""
        latents = []
        # hires fix may go on with another checkpoint, and another VAE, at the same size
        base = self.host.base_model(p).title
        for layer in self.method.pictures:
            key = base, layer, height, width
            if key not in self._conditions:
                rgb = self._condition_rgb(layer, height, width)
                # the mean, not a sample: the same request gives the same picture
                mean = self.host.posterior(p, torch.from_numpy(rgb)[None]).mean
                self._conditions[key] = self.host.to_sampler(p, mean)
            latents.append(self._conditions[key])
        return torch.cat(latents, dim=1)

    def keep_through_highres(self, p: Job) -> None:
        """See to it that what the host does between the two passes of a job leaves the transparency."""
        if self.method.decodes_alpha:
            self._alpha.keep_through_highres(p)

    def encoded(self, rgba: Uint8Image, pixels: Tensor) -> Tensor:
        """Return what the host shall take for its VAE's latent of a picture, RGBA uint8 [H, W, 4].

        `pixels` [1, H, W, 3] in [0, 1] are what the host sees of it.
        """
        return self._alpha.encoded(self._job, rgba, pixels)

    def decode(
        self, p: Job, name: str, latent: Tensor, decoded: Uint8Image, finished: Uint8Image
    ) -> Uint8Image:
        """Return a finished picture as RGBA uint8 [H, W, 4].

        latent [C, h, w] in sampler space, `decoded` what the VAE made of it, `finished` the same after other
        extensions worked on it, RGB uint8 [H, W, 3]. They have no part in the transparency, but for an alpha
        that one of them gave `finished`, which is RGBA [h, w, 4] then. Messages call it `name`.
        """
        rgba = self._alpha.decoded(p, latent, decoded, name)
        return carry_edit(to_uint8(rgba), decoded, finished)

    @property
    def passes_apart(self) -> float | None:
        """How far the passes of the last decode were from one another, None where there was one."""
        return self._alpha.passes_apart


def remove_leftover(host: Host, p: Job) -> bool:
    """Take off what an earlier job left on the UNet that samples; return whether there was anything.

    Some hosts keep models loaded, and go on with one as its last sampling left it.
    """
    if host.mark_of(host.unet(p)) is None:
        return False
    host.install(p, host.unet_without_scripts(p))
    return True
