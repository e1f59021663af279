"""What happens at each hook of a WebUI job, from the checks to the delivered pictures.

A job is one run of the host's `process_images`. Its state hangs on the host's processing object `p`, so a
copied or reused `p` starts anew.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from lib_layerdiffusion.errors import LayerDiffuseError, MissingPicture, for_user
from lib_layerdiffusion.hosts import early_infotexts, job_methods
from lib_layerdiffusion.hosts.base import Host, Job
from lib_layerdiffusion.job import previews, wardrobe
from lib_layerdiffusion.job.finished_pictures import FinishedPictures
from lib_layerdiffusion.job.further_jobs import FurtherJobs
from lib_layerdiffusion.job.generation import Generation, remove_leftover
from lib_layerdiffusion.job.init_pictures import InitPictures, has_init_pictures
from lib_layerdiffusion.job.kept_pictures import KeptPictures
from lib_layerdiffusion.job.layer_place import place_of
from lib_layerdiffusion.job.layer_results import NOTES_KEY
from lib_layerdiffusion.job.layer_run import LayerRun
from lib_layerdiffusion.job.own_parameters import own_parameters
from lib_layerdiffusion.job.quick_upscale import FirstPassPicture, check_upscale, first_pass_picture
from lib_layerdiffusion.job.repaints import Repaints
from lib_layerdiffusion.job.retries import Retries
from lib_layerdiffusion.job.scene_batches import arrange_before_init
from lib_layerdiffusion.job.script_runs import ScriptRun
from lib_layerdiffusion.job.state import STATE, JobState, state_of
from lib_layerdiffusion.networks import Networks
from lib_layerdiffusion.page.latest import Latest
from lib_layerdiffusion.pictures.arithmetic import Uint8Image
from lib_layerdiffusion.request import infotext, layer_plan, scenes, xyz_axes
from lib_layerdiffusion.request.settings import Settings, enabled_method, page_name, requested_steps
from lib_layerdiffusion.request.trigger_words import with_words

logger = logging.getLogger("layerdiffuse")

PAGE = "layerdiffuse_page"
"""Attribute of a job that our own script in the list runs over: the name of the page that began it."""


class Hooks:
    """The hooks of one script object. None of them raises."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.networks = Networks(host)
        self.latest = Latest()
        self._pictures = FinishedPictures(host, self.latest)

    def begin_script(self, p: Job, title: str, args: Sequence[Any]) -> ScriptRun | None:
        """Follow a script called `title` that is about to run over `p`, if LayerDiffuse is on for it."""
        # before it copies `p`
        own_parameters(p)
        if title == layer_plan.TITLE:
            setattr(p, PAGE, _page(p, args))
            return None
        try:
            method = enabled_method(args, xyz_axes.arguments(p))
            steps = requested_steps(args, xyz_axes.arguments(p))
        except LayerDiffuseError:
            # the first job will say so
            return None
        return None if method is None else ScriptRun(title, method, getattr(p, "init_images", None), steps)

    def run_layers(self, p: Job, args: Sequence[Any]) -> Any:
        """Run our own script of the list; return the host's result. Raises LayerDiffuseError."""
        page = getattr(p, PAGE, "")
        self.latest.take_message(page)
        try:
            return LayerRun(self.host, self.networks, p, args).run()
        except Exception as error:
            raise self._problem(page, error, "making layers") from error

    # --- before sampling
    def before_process(self, p: Job, args: Sequence[Any]) -> None:
        """Forget what an earlier job had to say and nobody asked for."""
        self.latest.take_message(_page(p, args))

    def process(self, p: Job, args: Sequence[Any]) -> None:
        """Check the job and prepare it; what is wrong ends it before sampling."""
        self._forget(p)
        p.extra_generation_params.update(place_of(p))
        generation = None
        page = _page(p, args)
        try:
            settings = Settings.from_args(args, xyz_axes.arguments(p))
            if not settings.enabled:
                return
            options = xyz_axes.options(p, self.host.options())
            jobs = FurtherJobs(self.host, p)
            retries = Retries(self.host, self.networks, p, settings, options.retries, jobs)
            repaints = Repaints(self.host, p, settings, jobs)
            generation = Generation(self.host, self.networks, settings, options)
            starts_from_pictures = has_init_pictures(p)
            encodes = settings.method.decodes_alpha and starts_from_pictures
            keeps = settings.method.keeps_alpha
            if keeps and not starts_from_pictures:
                raise MissingPicture(
                    f'"{settings.method.label}" paints a transparent picture again, and there is none; use '
                    "it in img2img."
                )
            first = first_pass_picture(p)
            if first is not None:
                check_upscale(first, settings.method)
            generation.prepare(p, encodes or first is not None)
            state = JobState(p, generation, retries, repaints, page)
            setattr(p, STATE, state)
            job_methods.around_next(p, "close", lambda close: self._end_and(p, close))
            state.text = infotext.write(settings, options)
            p.extra_generation_params.update(state.text)
            run = self.host.script_run()
            if encodes or keeps:
                if run is not None:
                    p.init_images = run.init_pictures(p.init_images)
                kind = KeptPictures if keeps else InitPictures
                state.init_pictures = kind(self.host, generation, p)
            if keeps and p.denoising_strength >= 1:
                generation.say("At a denoising strength of 1 little of the picture's shape will be kept.")
            if first is None:
                generation.keep_through_highres(p)
            else:
                FirstPassPicture(self.host, generation, p, first)
            if settings.method.frames > 1:
                arrange_before_init(
                    self.host, p, settings, lambda error: self._problem(page, error, "arranging the scenes")
                )
        except Exception as error:
            self.host.fail(p, self._problem(page, error, "preparing"))
            if generation is not None:
                generation.forget()

    def process_batch(self, p: Job) -> None:
        """Put the method's words into the prompts to be encoded; the infotext has those that were given."""
        state = state_of(p)
        if state is None or not state.generation.settings.trigger_words:
            return
        words = state.generation.method.family.words
        for name in ("prompts", "hr_prompts"):
            prompts = getattr(p, name, None)
            if words and prompts:
                setattr(p, name, [with_words(prompt, words) for prompt in prompts])

    def before_sampling(self, p: Job, x: Tensor) -> None:
        """Patch the UNet for the coming pass over latents like `x` [B, 4, h, w]."""
        state = state_of(p)
        if state is None:
            wardrobe.dress_plain(self.host, p)
            return
        try:
            if getattr(p, "is_hr_pass", False):
                state.generation.end_pass()
            else:
                state.problem = None
            state.generation.patch(p, *x.shape[-2:])
            state.catch_highres_latents()
        except Exception as error:
            self._break(p, state, error)

    def before_step(self, p: Job, x: Tensor) -> None:
        """Follow the host to another UNet in the middle of sampling; `x` [B, 4, h, w] are the latents.

        Hosts call it in every job.
        """
        state = state_of(p)
        if state is None:
            if remove_leftover(self.host, p):
                self.host.prepare_sampling(self.host.unet(p), x)
            return
        if state.problem is not None:
            return
        try:
            state.generation.before_step(p, x)
        except Exception as error:
            self._break(p, state, error)

    def _break(self, p: Job, state: JobState, error: Exception) -> None:
        """End the sampling with the error: what a hook raises is swallowed by hosts."""
        # it may end before it asks the model, so the delivery looks at the problem as well
        state.problem = self._problem(state.page, error, "patching the model")
        unet = self.host.clone(self.host.unet(p))
        self.host.break_sampling(unet, state.problem)
        self.host.install(p, unet)

    # --- after sampling
    def post_sample(self, p: Job, samples: Any) -> None:
        """Keep a batch's final latents [B, 4, h, w]; decoded highres results are no latents."""
        state = state_of(p)
        if state is None:
            return
        state.generation.end_pass()
        if isinstance(samples, Tensor) and not getattr(samples, "already_decoded", False):
            state.latents[p.iteration] = samples.detach()

    def postprocess_batch(self, p: Job, images: Tensor | None) -> None:
        """Keep what the VAE decoded, [B, 3, H, W] in [0, 1], as it is before other extensions work on it.

        Also write the scene's seed into each of its pictures: that is what makes the scene again.
        """
        state = state_of(p)
        if state is None:
            return
        given = [] if images is None else list(images)
        state.decoded, state.listed = [_as_host_rounds(image) for image in given], None
        state.addresses = [image.data_ptr() for image in given]
        if state.generation.method.frames > 1:
            p.seeds = scenes.first_of_scene(p.seeds, state.generation.method.frames)
            p.subseeds = scenes.first_of_scene(p.subseeds, state.generation.method.frames)

    def postprocess_batch_list(self, p: Job, pp: Any) -> None:
        """Keep the hook's argument: its `images` become what all scripts make of them, in whatever order."""
        state = state_of(p)
        if state is not None:
            state.listed = pp

    def postprocess_image(self, p: Job, pp: Any) -> None:
        """Keep the hook's argument: its `image` becomes what all scripts make of it, in whatever order."""
        state = state_of(p)
        if state is not None:
            state.finishing, state.overlay = pp, None

    def postprocess_maskoverlay(self, p: Job, ppmo: Any) -> None:
        """Keep the hook's argument: mask and overlay become what all scripts make of them."""
        state = state_of(p)
        if state is not None:
            state.overlay = ppmo

    def deliver(self, p: Job, picture: Image.Image) -> Any:
        """Return what the host shall save and show for a finished picture: RGBA where the method decodes."""
        state = state_of(p)
        if state is None:
            if getattr(picture, "mode", None) == "RGBA" and self.host.keeps_every():
                # what a request sets for itself is gone when its answer is written
                self.host.keep(picture)
            return picture
        try:
            if state.problem is not None:
                raise state.problem
            picture = self._pictures.made(p, state, picture)
            state.delivery.deliver()
            return picture
        except Exception as error:
            problem = self._problem(state.page, error, "decoding the transparency")
            if len(p.all_prompts) > 1:
                state.generation.say(f"{state.picture_name().capitalize()} is left out: {problem}")
            return state.delivery.leave_out(problem, state.picture_index(), picture.size)

    def finish(self, p: Job, processed: Any) -> None:
        """Forget the job; give every preview the infotext of its picture."""
        state = state_of(p)
        if state is not None:
            self._end(p, state)
            early_infotexts.tell(p, processed)
            if not state.delivery.conclude(processed, self.host.joins_results(p)):
                return
            # for the web API, whose answers hold no comments
            told = state.verdicts.told()
            if state.generation.said:
                told[NOTES_KEY] = state.generation.said
            if told:
                processed.extra_generation_params = {**processed.extra_generation_params, **told}
            previews.tell(self.host, p, processed)

    def _end(self, p: Job, state: JobState) -> None:
        state.generation.forget()
        delattr(p, STATE)
        job_methods.forget(p)

    def _end_and(self, p: Job, close: Callable[[], None]) -> None:
        """The host is done with `p`: one whose job ended with an error never came to `finish`."""
        state = state_of(p)
        if state is not None:
            self._end(p, state)
        close()

    def _problem(self, page: str, error: Exception, doing: str) -> LayerDiffuseError:
        """Return the error for the user, and keep it for the page that asked."""
        problem = for_user(error, doing)
        self.latest.tell(page, str(problem))
        return problem

    def _forget(self, p: Job) -> None:
        """Remove what an earlier run left on this processing object, or on the one it was copied from."""
        p.__dict__.pop(STATE, None)
        job_methods.forget(p)
        p.extra_result_images = previews.without(p.extra_result_images)
        parameters = own_parameters(p)
        for key in [key for key in parameters if key.startswith(infotext.PREFIX)]:
            del parameters[key]


def _as_host_rounds(image: Tensor) -> Uint8Image:
    """[3, H, W] in [0, 1] -> [H, W, 3], cut off as hosts do."""
    return (255 * np.moveaxis(image.float().cpu().numpy(), 0, 2)).astype(np.uint8)


def _page(p: Job, args: Sequence[Any]) -> str:
    """The page that began this job; none began one of the web API, whatever it sends."""
    return "" if getattr(p, "is_api", False) else page_name(args)
