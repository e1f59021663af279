"""What comes of a run of layers: gallery, files, and the answer of the web API."""

from __future__ import annotations

import base64
import copy
import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from lib_layerdiffusion.hosts.base import Host, Job
from lib_layerdiffusion.job.layer_place import PLACE_KEY
from lib_layerdiffusion.methods import Layer
from lib_layerdiffusion.pictures.layer_files import write_layer_file
from lib_layerdiffusion.pictures.stack import Stack
from lib_layerdiffusion.request import infotext
from lib_layerdiffusion.request.layer_plan import Asked, Part, Step
from lib_layerdiffusion.request.options import Options

logger = logging.getLogger("layerdiffuse")

ANSWER_KEY = f"{infotext.PREFIX}layers"
NOTES_KEY = f"{infotext.PREFIX}notes"


@dataclass(frozen=True)
class Finished:
    """A step with its pictures, their infotexts, and the host's result."""

    step: Step
    pictures: Sequence[Image.Image]
    infotexts: Sequence[str]
    processed: Any

    def by_layer(self) -> Iterator[tuple[Layer, Image.Image]]:
        """Each picture with the layer that it is."""
        method = self.step.method
        outputs = (Layer.BACKGROUND,) if method is None else method.outputs
        yield from zip(outputs, self.pictures, strict=True)


class Results:
    """All stacks of a run, as one result of the host's kind."""

    def __init__(self, host: Host, p: Job, asked: Asked, options: Options) -> None:
        self.host = host
        self.p = p
        self.asked = asked
        self.options = options
        self.pictures: list[Image.Image] = []
        self._texts: list[str] = []
        self._of: list[Finished] = []
        self._said: list[str] = []
        self._answer: list[dict[str, str]] = []

    def say(self, text: str) -> None:
        """Tell page and web API."""
        logger.warning("%s", text)
        self._said.append(text)

    def add(self, finished: Sequence[Finished], stack: Stack) -> None:
        """Take a stack in: its composite first, then its layers. Writes the layered file beside them."""
        composite = Image.fromarray(stack.composite())
        if composite.getextrema()[3] == (255, 255):
            composite = composite.convert("RGB")
        self.host.keep(composite)
        if finished:
            text = _at_place(finished[0].infotexts[0], f"composite of {len(list(stack.layers()))} layers")
            composite.info["parameters"] = text
            saved = self.host.save_result(self.p, composite, text)
            self._put(composite, text, finished[0])
        else:
            saved = None
        for one in finished:
            for (layer, picture), text in zip(one.by_layer(), one.infotexts, strict=True):
                between = one.step.part is not Part.BACKGROUND and layer is Layer.BLENDED
                if self.asked.keeps_between or not between:
                    self._put(picture, text, one)
        self._write(stack, saved)

    def _put(self, picture: Image.Image, text: str, of: Finished) -> None:
        self.pictures.append(picture)
        self._texts.append(text)
        self._of.append(of)

    def _write(self, stack: Stack, saved: Path | None) -> None:
        cropped = stack.cropped()
        try:
            if self.asked.answer:
                data = {kind: write_layer_file(cropped, kind) for kind in self.asked.answer}
                self._answer.append({kind: base64.b64encode(one).decode() for kind, one in data.items()})
            for kind in self.options.layer_files:
                if saved is None:
                    continue
                path = saved.with_suffix(f".{kind}")
                path.write_bytes(write_layer_file(cropped, kind))
                self.host.say(self.p, f"Layers: {path}")
        except Exception as error:
            self.say(f"The layered file could not be written: {error}")

    def processed(self) -> Any:
        """Return the host's result of the first step, with all pictures of the run in it."""
        first = self._of[0].processed
        result = copy.copy(first)
        result.images, result.infotexts, result.extra_images = self.pictures, self._texts, []
        result.index_of_first_image, result.info = 0, self._texts[0]
        steps = [one.step for one in self._of]
        result.all_prompts = [step.prompt for step in steps]
        for name in ("all_negative_prompts", "all_seeds", "all_subseeds"):
            setattr(result, name, [getattr(one.processed, name)[0] for one in self._of])
        told = dict(result.extra_generation_params)
        if self._said:
            told[NOTES_KEY] = self._said
        if self._answer:
            told[ANSWER_KEY] = self._answer
        result.extra_generation_params = told
        result.comments = "".join(f"{text}\n" for text in dict.fromkeys([*self.p.comments, *self._said]))
        return result


def _at_place(text: str, place: str) -> str:
    """An infotext with another place in the stack."""
    return re.sub(rf"{PLACE_KEY}: [^,\n]*", f"{PLACE_KEY}: {place}", text)
