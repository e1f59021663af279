"""Jobs of one family in a WebUI: requests as its web API takes them, and the pictures that come back."""

from __future__ import annotations

import base64
import binascii
import json
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from lib_layerdiffusion.methods import Family, Layer, Method
from lib_layerdiffusion.pictures import png, sample
from lib_layerdiffusion.pictures.png import Raster
from lib_layerdiffusion.trial.client import Client, Refused

SEED, GUIDANCE = 1, 4
SUBJECT, PLACE = "red apple", "meadow"
GREY = 127
"""What img2img lays transparent pictures on."""


class Failed(Exception):
    """A job did not give what it should; the end of a sentence that begins with its name."""


class Answer(NamedTuple):
    """The pictures of a job without its grids, their infotexts, and the seconds that it took."""

    pictures: list[Raster]
    infotexts: list[str]
    seconds: float


class Jobs:
    """Runs jobs. `size` is a side in pixels; the pictures that methods begin with are drawn once."""

    def __init__(self, client: Client, family: Family, size: int, steps: int) -> None:
        self.client = client
        self.family = family
        self.size = size
        self.steps = steps
        self._drawn: dict[Layer, Raster] = {}

    def picture(self, layer: Layer) -> Raster:
        """The drawn picture of a layer: RGBA for the foreground, RGB for the others."""
        if layer not in self._drawn:
            if layer is Layer.FOREGROUND:
                made = sample.transparent(self.size, self.size)
            elif layer is Layer.BACKGROUND:
                made = sample.landscape(self.size, self.size)
            else:
                made = sample.over(self.picture(Layer.FOREGROUND), self.picture(Layer.BACKGROUND))
            self._drawn[layer] = made
        return self._drawn[layer]

    def of_method(self, method: Method, changes: Mapping[str, Any] | None = None, **fields: Any) -> Answer:
        """One scene of a method; `changes` are to its arguments. Raises Failed."""
        given = {f"{layer.value}_image": encoded(self.picture(layer)) for layer in method.pictures}
        arguments = {"method": method.label, **given, **(changes or {})}
        return self.run(arguments, prompt=prompt_of(method), **fields)

    def without(self, **fields: Any) -> Answer:
        """The same with the extension off. Raises Failed."""
        return self.run(None, prompt=SUBJECT, **fields)

    def round_trip(self, method: Method | None) -> Answer:
        """The drawn foreground through img2img at the least noise; None is without the extension."""
        foreground = self.picture(Layer.FOREGROUND)
        arguments = None if method is None else {"method": method.label}
        given = self.on_grey() if method is None else foreground
        return self.run(
            arguments,
            path="img2img",
            prompt=SUBJECT,
            init_images=[encoded(given)],
            denoising_strength=0,
            resize_mode=0,
            cfg_scale=1,
        )

    def on_grey(self) -> Raster:
        """The drawn foreground as img2img shows it to the autoencoder."""
        plane = bytes([GREY]) * self.size**2
        return sample.over(
            self.picture(Layer.FOREGROUND), png.join(self.size, self.size, plane, plane, plane)
        )

    def run(
        self,
        arguments: Mapping[str, Any] | None,
        path: str = "txt2img",
        settings: Mapping[str, Any] | None = None,
        **fields: Any,
    ) -> Answer:
        """Run a job; `settings` are overridden for it. Raises Failed."""
        own = {"layerdiffuse_preview": True, "layerdiffuse_decode_passes": 8, "samples_format": "png"}
        request = {
            "negative_prompt": "",
            "seed": SEED,
            "steps": self.steps,
            "width": self.size,
            "height": self.size,
            "cfg_scale": GUIDANCE,
            "sampler_name": "Euler",
            "batch_size": 1,
            "n_iter": 1,
            "save_images": False,
            "send_images": True,
            "override_settings": {**own, **(settings or {})},
            "alwayson_scripts": {
                "LayerDiffuse": {"args": [{"enabled": False} if arguments is None else dict(arguments)]}
            },
            **fields,
        }
        start = time.perf_counter()
        try:
            told = self.client.post(f"/sdapi/v1/{path}", request)
        except Refused as refused:
            raise Failed(f"the WebUI refused it with {refused}") from refused
        seconds = time.perf_counter() - start
        return _answer(told, seconds)


def _answer(told: Any, seconds: float) -> Answer:
    try:
        info = json.loads(told["info"])
        grids = int(info.get("index_of_first_image", 0))
        files = [base64.b64decode(text.rpartition(",")[2]) for text in told["images"]]
        pictures = [png.read(file) for file in files[grids:]]
        return Answer(pictures, [str(text) for text in info["infotexts"][grids:]], seconds)
    except (KeyError, TypeError, AttributeError, binascii.Error) as error:
        raise Failed("its answer is not that of a WebUI") from error
    except ValueError as error:
        raise Failed(f"a picture of its answer cannot be read: {error}") from error


def encoded(picture: Raster) -> str:
    """Base64 of a PNG file, as requests hold pictures."""
    return base64.b64encode(png.write(picture)).decode()


def prompt_of(method: Method) -> str:
    """What a method's pictures show: of several layers, or where others are given, the whole scene."""
    shown = set(method.outputs)
    if shown == {Layer.FOREGROUND}:
        return SUBJECT
    if shown == {Layer.BACKGROUND}:
        return PLACE
    return f"{SUBJECT}, {PLACE}"


def largest_difference(one: Raster, other: Raster) -> int:
    """In levels, 0 to 255; 255 where they are of another size or kind."""
    if one[:3] != other[:3]:
        return 255
    if one.values == other.values:
        return 0
    return max(abs(a - b) for a, b in zip(one.values, other.values, strict=True))
