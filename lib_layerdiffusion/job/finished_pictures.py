"""A picture that the host has finished becomes ours: decoded, judged, cleaned, and kept for the panel."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from lib_layerdiffusion.errors import GenerationFailed, LayerDiffuseError
from lib_layerdiffusion.hosts import early_infotexts
from lib_layerdiffusion.hosts.base import Host, Job
from lib_layerdiffusion.job import previews
from lib_layerdiffusion.job.init_pictures import has_init_pictures
from lib_layerdiffusion.job.kept_pictures import KeptPictures
from lib_layerdiffusion.job.retries import TRIES_KEY, Tried
from lib_layerdiffusion.job.scene_batches import LAYER_KEY
from lib_layerdiffusion.job.state import JobState
from lib_layerdiffusion.job.verdicts import WORD_KEY
from lib_layerdiffusion.page.latest import Latest
from lib_layerdiffusion.pictures.finishing import Steps, finish
from lib_layerdiffusion.pictures.measures import measure
from lib_layerdiffusion.pictures.reading import has_alpha
from lib_layerdiffusion.pictures.verdict import FAILED, as_json, verdict
from lib_layerdiffusion.request.infotext import PREFIX


class FinishedPictures:
    """For all jobs of a script object; what is known of one job is in its state."""

    def __init__(self, host: Host, latest: Latest) -> None:
        self.host = host
        self.latest = latest

    def made(self, p: Job, state: JobState, picture: Image.Image) -> Image.Image:
        """Return what the host shall save and show for a finished picture. Raises LayerDiffuseError.

        It writes into `p` what the picture's infotext says of it alone, which hosts write right after this.
        """
        self._clean_text(p, state)
        written = self.host.early_infotext(p)
        picture = self._made(p, state, picture)
        if written is not None:
            early_infotexts.change(p, written, self.host.early_infotext(p) or "")
            # the text of the next one was written without
            self._clean_text(p, state)
        return picture

    def _clean_text(self, p: Job, state: JobState) -> None:
        """Take out of `p` what was said of the picture before."""
        for key in (WORD_KEY, TRIES_KEY):
            p.extra_generation_params.pop(key, None)
        p.extra_generation_params.update(state.text)

    def _made(self, p: Job, state: JobState, picture: Image.Image) -> Image.Image:
        method = state.generation.method
        position = state.batch_position()
        frame = position % method.frames
        latents = state.latents.get(p.iteration)
        if method.frames > 1 and frame == 0:
            state.begin_scene(picture.size)
        latent = latents[position] if latents is not None and position < len(latents) else None
        state.generation.check_sampled(latent)
        kept = picture
        if method.makes_alpha and frame == 0:
            kept = picture = self._decode(p, state, latent, picture)
            if not self._makes_tiles():
                kept = picture = self._judged(p, state, picture)
                picture = self._finish(p, state, picture)
                # a slot takes what fits the other layers
                kept = kept if self._steps(p, state).move_pixels else picture
        self.host.keep(picture)
        if method.frames > 1:
            self.host.name_layer(picture, method.outputs[frame].value)
            state.in_scene(picture, method.outputs[frame])
            if not self.host.lists_in_infotext:
                p.extra_generation_params[LAYER_KEY] = method.outputs[frame].value
        if not self._makes_tiles():
            self.latest.keep(state.page, method.outputs[frame], kept)
        return picture

    def _decode(self, p: Job, state: JobState, latent: Tensor | None, picture: Image.Image) -> Image.Image:
        mask, position = state.overlay_mask(), state.batch_position()
        # with a mask, the host has laid the original over it by now
        covered = mask is not None and state.finishing is not None
        finished = state.finishing.image if covered else picture
        pixels = np.array(finished.convert("RGBA" if has_alpha(finished) else "RGB"))
        if covered:
            # which hosts do between the two; theirs has no alpha
            pixels[..., :3] = np.asarray(self.host.colour_corrected(p, finished).convert("RGB"))
        if isinstance(state.init_pictures, KeptPictures):
            rgba = state.init_pictures.repainted(pixels, position)
        else:
            if latent is None:
                raise GenerationFailed(
                    "LayerDiffuse has no latent for this picture; another extension replaced the sampling. "
                    "Disable it and generate again."
                )
            decoded = state.decoded[position] if position < len(state.decoded) else pixels[..., :3]
            rgba = state.generation.decode(p, state.picture_name(), latent, decoded, pixels)
        result = Image.fromarray(rgba)
        if mask is not None and state.init_pictures is not None:
            result = state.init_pictures.keep_outside(result, mask, position)
        return result

    def _judged(self, p: Job, state: JobState, picture: Image.Image) -> Image.Image:
        """Tell how transparent a decoded picture came out; return it, or what another try made of it."""
        rgba, position = np.asarray(picture), state.batch_position()
        before = state.decoded[position] if position < len(state.decoded) else None
        if not state.generation.method.decodes_in_passes:
            # it is not on the grey of the released methods
            before = None
        if before is not None and before.shape[:2] != rgba.shape[:2]:
            before = None
        numbers = measure(rgba, before, state.generation.passes_apart)
        found = verdict(numbers, state.generation.method.family.if_opaque)
        told = as_json(found, numbers)
        if found.word == FAILED and state.retries.most:
            tried, texts = state.retries.again(
                p, int(p.batch_index), state.picture_index(), state.picture_name()
            )
            p.extra_generation_params[TRIES_KEY] = "; ".join(texts)
            told = {**told, "tries": texts}
            if tried is not None:
                self._take(p, state, tried)
                told, picture = {**tried.told, "tries": texts}, tried.picture
        if state.repaints.wanted:
            picture, again = self._repainted(p, state, picture)
            told = {**told, **again}
        state.verdicts.tell(p.extra_generation_params, state.picture_name(), state.picture_index() + 1, told)
        return picture

    def _repainted(
        self, p: Job, state: JobState, picture: Image.Image
    ) -> tuple[Image.Image, Mapping[str, Any]]:
        """Return what another checkpoint makes of a transparent picture, and what changes in what is told."""
        name, made = state.picture_name(), None
        # the checkpoint of this job leaves the device, and nothing of it stays there for us
        state.generation.finish()
        try:
            made = state.repaints.of(p, int(p.batch_index), state.picture_index(), name, picture)
        except LayerDiffuseError as error:
            state.generation.say(f"{name[0].upper()}{name[1:]} is not repainted: {error}")
        else:
            if made is None:
                state.generation.say(f"{name[0].upper()}{name[1:]} is not repainted: that was interrupted.")
        return made or (picture, {})

    def _take(self, p: Job, state: JobState, tried: Tried) -> None:
        """Have the infotext of the picture at hand be the one that makes the other."""
        p.seeds[p.batch_index] = p.all_seeds[state.picture_index()] = tried.seed
        changed = {f"{PREFIX}{name}": value for name, value in tried.changes.items()}
        p.extra_generation_params.update(changed)

    def _steps(self, p: Job, state: JobState) -> Steps:
        steps, run = state.generation.settings.steps, self.host.script_run()
        # a script other than a plot may go on from its pictures, whose size it knows
        if run is not None and has_init_pictures(p) and not run.plots:
            return replace(steps, trim=None)
        return steps

    def _finish(self, p: Job, state: JobState, picture: Image.Image) -> Image.Image:
        """Do what the user wants done to a decoded picture, and show its preview."""
        steps = self._steps(p, state)
        if not steps.do_nothing:
            picture = Image.fromarray(finish(np.asarray(picture), steps))
        # scripts that join results keep the first job's at most
        if state.generation.options.preview and not self.host.joins_results(p):
            previews.show(self.host, p, picture, state.delivery.delivered)
        return picture

    def _makes_tiles(self) -> bool:
        """True while a script makes tiles of which it will put a picture together."""
        run = self.host.script_run()
        return run is not None and run.in_tiles
