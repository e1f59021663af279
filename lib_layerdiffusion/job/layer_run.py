"""A run of "LayerDiffuse layers": one job after the other, each with the pictures of those before."""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from lib_layerdiffusion.errors import (
    BadSetting,
    GenerationFailed,
    Interrupted,
    LayerDiffuseError,
    UnsupportedBaseModel,
    UnsupportedMethod,
    for_user,
)
from lib_layerdiffusion.hosts.base import Host, Job
from lib_layerdiffusion.job import layer_place, wardrobe
from lib_layerdiffusion.job.layer_results import Finished, Results
from lib_layerdiffusion.job.wardrobe import Wardrobe
from lib_layerdiffusion.methods import METHODS, SD15, Family, Layer
from lib_layerdiffusion.networks import Networks
from lib_layerdiffusion.pictures.arithmetic import Uint8Image, flatten_on_grey
from lib_layerdiffusion.pictures.reading import given_init_picture
from lib_layerdiffusion.pictures.stack import Layer as StackLayer
from lib_layerdiffusion.pictures.stack import Stack
from lib_layerdiffusion.request import layer_plan, xyz_axes
from lib_layerdiffusion.request.layer_plan import TITLE, Asked, Kind, Part, Step
from lib_layerdiffusion.request.options import Options
from lib_layerdiffusion.request.settings import ARGUMENTS, SHORT

logger = logging.getLogger("layerdiffuse")

FILL_WITH_SURROUNDINGS = 0
"""What hosts call filling a masked place from its border before sampling."""


@dataclass
class _Scene:
    """What there is of one stack so far. Pictures are RGBA uint8 [H, W, 4]."""

    pictures: dict[Layer, Uint8Image] = field(default_factory=dict)
    below: list[StackLayer] = field(default_factory=list)
    above: list[StackLayer] = field(default_factory=list)
    finished: list[Finished] = field(default_factory=list)

    @property
    def layers(self) -> list[StackLayer]:
        return [*self.below, *self.above]

    @property
    def has_layers(self) -> bool:
        """True where a step made one."""
        return any(one.step.part is not Part.BLENDING for one in self.finished)

    def stack(self) -> Stack:
        height, width = self.layers[0].picture.shape[:2]
        return Stack(width, height, self.layers)


LAYERED = tuple(dict.fromkeys(method.family for method in METHODS if method.pictures))
"""Families with methods that add a layer to others."""


class LayerRun:
    """One press of Generate with the script chosen. `p` is the job that the page or the web API asked for."""

    def __init__(self, host: Host, networks: Networks, p: Job, args: Sequence[Any]) -> None:
        self.host = host
        self.networks = networks
        self.p = p
        self.options: Options = host.options()
        self.asked = Asked.from_args(args)
        self.inits = [given_init_picture(one) for one in getattr(p, "init_images", None) or []]
        self.family = self._family()
        prompt = p.prompt[0] if isinstance(p.prompt, list) else p.prompt
        has_mask = getattr(p, "image_mask", None) is not None
        self.steps = layer_plan.plan(self.asked, self.family, prompt, len(self.inits), has_mask)
        self.wardrobe = Wardrobe()
        self.results = Results(host, p, self.asked, self.options)

    def run(self) -> Any:
        """Make every stack, and return the host's result with all pictures.

        Raises LayerDiffuseError where nothing could be made; otherwise a problem is told with what there is.
        """
        self._check()
        count = max(1, int(self.p.n_iter)) * max(1, int(self.p.batch_size))
        first = self.host.fixed_seed(self.p)
        self.host.expect_jobs(count * len(self.steps))
        for number in range(count):
            seed = first + number * (len(self.steps) if self.asked.counts_seeds else 1)
            scene, problem = self._one_stack(seed)
            if scene.has_layers:
                self.results.add(scene.finished, scene.stack())
            if problem is not None:
                if not self.results.pictures:
                    raise problem
                self.results.say(f"Not everything was made: {problem}")
            if problem is not None or self.host.interrupted():
                break
        self.host.report("", None)
        return self.results.processed()

    # --- before the first step
    def _family(self) -> Family:
        name = (getattr(self.p, "override_settings", None) or {}).get("sd_model_checkpoint")
        base = self.host.selected_model(name) or self.host.base_model(self.p)
        for family in LAYERED:
            if base.family == family.key:
                return family
        titles = " or ".join(family.title for family in LAYERED)
        raise UnsupportedBaseModel(
            f"{TITLE} needs a checkpoint of {titles}, but {base.title} is selected. Select another."
        )

    def _check(self) -> None:
        if self.asked.sampler and self.asked.sampler not in self.host.samplers():
            raise BadSetting(
                f'{TITLE} has no sampler "{self.asked.sampler}". Choose one of: '
                f"{', '.join(self.host.samplers())}."
            )
        background, p = self.asked.background, self.p
        if self.asked.kind is Kind.OBJECTS and background is not None:
            height, width = background.shape[:2]
            if (width, height) != (p.width, p.height):
                raise BadSetting(
                    f"The background picture has {width}x{height} pixels and the generation {p.width}x"
                    f"{p.height}; set the generation's size to the picture's, or bring the picture to it."
                )
        for step in self.steps:
            for text in (step.prompt, *step.prompts.values()):
                if step.prompts and not self.host.is_plain_prompt(p, text):
                    raise UnsupportedMethod(
                        f'Prompts of SD1.5 layers cannot hold prompt editing or AND, as "{text}" does. Write '
                        "it without."
                    )
        self.networks.use(self.options)
        methods = layer_plan.methods_of(self.steps)
        files = [method.weights for method in methods]
        if any(method.decodes_alpha for method in methods):
            files.append(self.family.decoder)
        if any(step.with_picture and step.method is not None for step in self.steps):
            files.append(self.family.encoder)
        for file in files:
            self.networks.store.ensure(file)

    # --- the steps
    def _one_stack(self, seed: int) -> tuple[_Scene, LayerDiffuseError | None]:
        scene, number = _Scene(), 0
        try:
            self._begin(scene)
            for number, step in enumerate(self.steps):
                step_seed = seed + number if self.asked.counts_seeds else seed
                text = f"step {number + 1} of {len(self.steps)}: {step.doing}"
                logger.info("%s, %s", TITLE, text)
                self.host.report(text, None)
                made = self._run(scene, step, step_seed, number)
                if made is None:
                    raise Interrupted(f"{TITLE} was interrupted in {text}.")
                self._take(scene, step, made)
                scene.finished.append(made)
        except Exception as error:
            problem = for_user(error, f"making layers, step {number + 1} of {len(self.steps)}")
            return scene, problem
        return scene, None

    def _begin(self, scene: _Scene) -> None:
        """Take what the stack begins with, where that is a picture."""
        p = self.p
        if self.asked.kind is Kind.OBJECTS and self.asked.background is not None:
            self._put_background(scene, self.asked.background, "background")
        elif self.asked.kind is Kind.OBJECTS and self.inits:
            init = self.host.resize_init_image(p.resize_mode, self.inits[0], p.width, p.height)
            self._put_background(scene, np.asarray(init.convert("RGBA")), "background")
        elif self.asked.kind is Kind.CUT_OUT:
            init = self.host.resize_init_image(p.resize_mode, self.inits[0], p.width, p.height)
            scene.pictures[Layer.BLENDED] = _opaque(np.asarray(init.convert("RGBA")))

    def _run(self, scene: _Scene, step: Step, seed: int, number: int) -> Finished | None:
        """Run a step; None where it was interrupted."""
        p = self.p if step.with_picture else self.host.without_picture(self.p)
        job = copy.copy(p)
        job.prompt, job.seed, job.n_iter, job.batch_size = step.prompt, seed, 1, 1
        job.do_not_save_grid = True
        job.do_not_save_samples = self.p.do_not_save_samples or (
            step.part is Part.BLENDING and self.family is not SD15 and not self.asked.keeps_between
        )
        job.extra_generation_params = dict(self.p.extra_generation_params)
        job.extra_result_images = []
        if step.method is not None and len(step.method.pictures) > 1 and self.asked.sampler:
            job.sampler_name, job.scheduler = self.asked.sampler, "Automatic"
        if self.asked.kind is Kind.CUT_OUT and step.with_picture:
            self._mask(job, scene, number // 2)
        xyz_axes.put(job, job, _arguments(step, scene.pictures))
        wardrobe.put(job, self.wardrobe)
        layer_place.put(job, f"{step.part.value} {number + 1} of {len(self.steps)}")
        try:
            processed = self.host.run_job(job)
            wanted = step.method.frames if step.method is not None else 1
            pictures = list(processed.images)[processed.index_of_first_image :][:wanted]
            texts = processed.infotexts[processed.index_of_first_image :][:wanted]
        finally:
            job.close()
        if self.host.interrupted():
            return None
        if len(pictures) < wanted:
            raise GenerationFailed(f"There is no picture of {step.doing}; the job ended early.")
        for picture in pictures:
            self.host.keep(picture)
        return Finished(step, pictures, texts, processed)

    def _mask(self, job: Job, scene: _Scene, number: int) -> None:
        """Have a job of img2img fill the place of object `number` from what is around it, anew."""
        if self.asked.masks:
            job.image_mask = Image.fromarray(self.asked.masks[number][..., :3]).convert("L")
        job.init_images = [Image.fromarray(scene.pictures[Layer.BLENDED]).convert("RGB")]
        job.resize_mode, job.denoising_strength = 0, 1.0
        job.inpainting_fill, job.inpaint_full_res = FILL_WITH_SURROUNDINGS, False

    def _take(self, scene: _Scene, step: Step, made: Finished) -> None:
        """Put the pictures of a step where they belong."""
        shown = {layer: np.array(picture.convert("RGBA")) for layer, picture in made.by_layer()}
        for picture in shown.values():
            self._check_size(scene, picture)
        if step.part is Part.BACKGROUND:
            if self.asked.kind is Kind.CUT_OUT:
                scene.below = [StackLayer("background", shown[Layer.BACKGROUND])]
                scene.pictures[Layer.BACKGROUND] = shown[Layer.BACKGROUND]
            else:
                self._put_background(scene, shown[Layer.BACKGROUND], step.name or "background")
            return
        if Layer.BLENDED in shown:
            scene.pictures[Layer.BLENDED] = blended = shown[Layer.BLENDED]
        if step.part is Part.TRANSPARENT:
            scene.pictures[Layer.FOREGROUND] = shown[Layer.FOREGROUND]
            scene.above = [StackLayer(step.name, shown[Layer.FOREGROUND])]
        elif Layer.BACKGROUND in shown:
            # the surroundings of a subject
            hidden = StackLayer("blended", scene.pictures[Layer.BLENDED], visible=False)
            scene.below = [StackLayer("surroundings", shown[Layer.BACKGROUND]), hidden]
        elif step.part is Part.OBJECT and self.asked.kind is Kind.CUT_OUT:
            # front to back: each one lies below those before, and what it left is the picture of the next
            scene.above.insert(0, StackLayer(step.name, shown[Layer.FOREGROUND]))
            scene.pictures[Layer.BLENDED] = scene.pictures[Layer.BACKGROUND]
        elif step.part is Part.OBJECT:
            blended = scene.pictures[Layer.BLENDED]
            scene.above.append(StackLayer(f"{step.name} (blended)", blended, visible=False))
            scene.above.append(StackLayer(step.name, shown[Layer.FOREGROUND]))
            goes_on = scene.stack().composite() if self.asked.goes_on_with_composite else blended
            scene.pictures[Layer.BACKGROUND] = goes_on

    def _put_background(self, scene: _Scene, picture: Uint8Image, name: str) -> None:
        scene.below = [StackLayer(name, _opaque(picture))]
        scene.pictures[Layer.BACKGROUND] = scene.below[0].picture

    def _check_size(self, scene: _Scene, picture: Uint8Image) -> None:
        both = [picture, *(layer.picture for layer in scene.layers[:1])]
        sizes = [f"{one.shape[1]}x{one.shape[0]}" for one in both]
        if len(set(sizes)) > 1:
            raise GenerationFailed(
                f"A layer has {sizes[0]} pixels and the one before {sizes[1]}; switch off what "
                "changes the size (hires fix, an upscaler) and generate again."
            )


def _opaque(picture: Uint8Image) -> Uint8Image:
    """A picture without its transparency, as the methods see a background: on grey."""
    rgb = np.rint(flatten_on_grey(picture) * 255).astype(np.uint8)
    return np.dstack([rgb, np.full_like(rgb[..., :1], 255)])


def _arguments(step: Step, pictures: Mapping[Layer, Uint8Image]) -> dict[str, Any]:
    """The panel's values for one step, all of them, whatever the page has there."""
    values = dict(ARGUMENTS)
    if step.method is None:
        return {**values, "enabled": False}
    return {
        **values,
        "enabled": True,
        "method": step.method.label,
        "weight": step.weight,
        "ending_step": step.ending_step,
        **{f"{SHORT[layer]}_image": pictures[layer] for layer in step.method.pictures},
        **{f"{SHORT[layer]}_additional_prompt": text for layer, text in step.prompts.items()},
    }
