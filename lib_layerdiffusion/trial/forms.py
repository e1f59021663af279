"""What a method's answer must have: layers and modes as the table says, and an infotext that replays."""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

from lib_layerdiffusion.methods import Layer, Method
from lib_layerdiffusion.pictures.png import Raster
from lib_layerdiffusion.pictures.shares import shares
from lib_layerdiffusion.pictures.verdict import Numbers, Verdict, verdict
from lib_layerdiffusion.trial.jobs import Answer

PREFIX = "layerdiffusion_"
KEY = re.compile(rf"(?:^|[\n,] *){PREFIX}(\w+): ")
REPLAYED = ("method", "weight", "ending_step", "resize_mode")
"""Keys of the infotext that are arguments too; pictures are not in it, and prompts are empty here."""


class Form(NamedTuple):
    """What was found: sentences about what is wrong, and the layers' pictures."""

    problems: list[str]
    layers: list[Raster]


def form(method: Method, answer: Answer, size: int) -> Form:
    """Check layers, modes, sizes and previews."""
    problems = []
    expected = ["RGBA" if layer is Layer.FOREGROUND else "RGB" for layer in method.outputs]
    previews = int(method.decodes_alpha)
    count = len(answer.pictures) - previews
    if count != method.frames:
        wanted = f"{method.frames} {'layer' if method.frames == 1 else 'layers'}"
        wanted += f" and {previews} preview" if previews else ""
        problems.append(f"Wrong number of layers: {len(answer.pictures)} pictures came in place of {wanted}.")
    layers = answer.pictures[: method.frames]
    for layer, mode, picture in zip(method.outputs, expected, layers, strict=False):
        if picture.mode != mode:
            problems.append(f"The {layer.value} is {picture.mode} in place of {mode}.")
        if (picture.width, picture.height) != (size, size):
            problems.append(
                f"The {layer.value} has {picture.width}x{picture.height} pixels in place of {size}x{size}."
            )
    if not problems and previews and answer.pictures[-1].mode != "RGB":
        problems.append(f"The preview is {answer.pictures[-1].mode} in place of RGB.")
    return Form(problems, layers)


def judged(method: Method, layers: list[Raster]) -> Verdict | None:
    """The verdict on a method's foreground, None where it makes none."""
    if not method.decodes_alpha or not layers or layers[0].mode != "RGBA":
        return None
    numbers = Numbers.of(shares(layers[0].alpha(), layers[0].width, layers[0].height))
    return verdict(numbers, method.family.if_opaque)


def replayed(infotext: str) -> dict[str, Any]:
    """The arguments that an infotext names, as the web API takes them. Raises ValueError for one without."""
    keys = {match[1]: _value(infotext, match.end()) for match in KEY.finditer(infotext)}
    missing = [name for name in REPLAYED if name not in keys]
    if missing:
        raise ValueError(f"The infotext lacks {', '.join(PREFIX + name for name in missing)}.")
    return {name: keys[name] for name in REPLAYED}


def _value(text: str, start: int) -> str:
    if text.startswith('"', start):
        return str(json.JSONDecoder(strict=False).raw_decode(text, start)[0])
    return re.split(r"[,\n]", text[start:], maxsplit=1)[0].strip()
