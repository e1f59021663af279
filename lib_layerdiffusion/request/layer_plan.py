"""What a run of "LayerDiffuse layers" was asked for, and the steps that it takes, one job each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from lib_layerdiffusion.errors import BadSetting, MissingPicture, UnsupportedMethod
from lib_layerdiffusion.methods import METHODS, SD15, Family, Layer, Method
from lib_layerdiffusion.pictures.arithmetic import Uint8Image
from lib_layerdiffusion.pictures.reading import given_picture
from lib_layerdiffusion.request import spellings
from lib_layerdiffusion.request.options import LAYER_FILES
from lib_layerdiffusion.request.settings import RANGES

TITLE = "LayerDiffuse layers"
MOST_OBJECTS = 20
LONGEST_PROMPT = 4000
"""Characters of a line: many times what a checkpoint reads of a prompt."""


class Kind(Enum):
    """How the layers come about; values are UI texts and API values."""

    OBJECTS = "A background and objects"
    SURROUNDINGS = "A subject and its surroundings"
    CUT_OUT = "An object out of a picture"


class Part(Enum):
    """What a step makes; values are names of API values and infotext."""

    BACKGROUND = "background"
    TRANSPARENT = "transparent"
    BLENDING = "blending"
    SURROUNDINGS = "surroundings"
    OBJECT = "object"


STEERED: dict[Part, tuple[str, float]] = {
    Part.TRANSPARENT: ("Transparent picture", 1.0),
    Part.BLENDING: ("Blending", 1.0),
    Part.SURROUNDINGS: ("Surroundings", 0.5),
    Part.OBJECT: ("Object", 1.0),
}
"""The steps that have a Weight and a Stop At: their title, and the Stop At that they begin with.

0.5 for the surroundings is what the released extension's manual advises.
"""

SAME_SEED, NEXT_SEED = "The same for every step", "One more for each step"
AS_PAGE = "as above"
"""The choice for the sampler that the page has."""
COMPOSITE, BLENDED = "What the layers make together", "The picture that the model blended"

ARGUMENTS: tuple[tuple[str, Any], ...] = (
    ("kind", Kind.OBJECTS.value),
    ("objects", ""),
    ("bg_image", None),
    ("surroundings", ""),
    ("together", ""),
    ("sampler", "Euler a"),
    ("seeds", SAME_SEED),
    ("go_on_with", COMPOSITE),
    ("keep_between", False),
    *(
        (f"{part.value}_{name}", default)
        for part, (_, stop) in STEERED.items()
        for name, default in (("weight", 1.0), ("ending_step", stop))
    ),
    ("masks", ()),
    ("layers", ""),
)
"""Names and defaults of the script's arguments, in the page's order; the last two are the web API's alone."""
NAMES = tuple(name for name, _ in ARGUMENTS)
ON_PAGE = NAMES[:-2]


@dataclass(frozen=True)
class Asked:
    """The checked arguments. `answer` are the kinds of layered file that the API's answer is to hold.

    `sampler` is "" for that of the page; pictures are RGBA uint8 [H, W, 4].
    """

    kind: Kind = Kind.OBJECTS
    objects: tuple[str, ...] = ()
    background: Uint8Image | None = None
    surroundings: str = ""
    together: str = ""
    sampler: str = "Euler a"
    counts_seeds: bool = False
    goes_on_with_composite: bool = True
    keeps_between: bool = False
    weights: Mapping[Part, float] = field(default_factory=dict)
    stops: Mapping[Part, float] = field(default_factory=dict)
    masks: tuple[Uint8Image, ...] = ()
    answer: tuple[str, ...] = ()

    @classmethod
    def from_args(cls, args: Sequence[Any]) -> Asked:
        """Read the page's values in order, or one object of values by name. Raises BadSetting, BadPicture."""
        if args and isinstance(args[0], Mapping):
            given = spellings.named(args[0], NAMES)
        else:
            given = dict(zip(ON_PAGE, args, strict=False))
        values = {**dict(ARGUMENTS), **given}
        return cls(
            kind=_one_of(values, "kind", {**{kind.value: kind for kind in Kind}, **_SHORT_KINDS}),
            objects=_objects(values["objects"]),
            background=given_picture(values["bg_image"], "background"),
            surroundings=_prompt(values, "surroundings"),
            together=_prompt(values, "together"),
            sampler="" if values["sampler"] == AS_PAGE else _prompt(values, "sampler"),
            counts_seeds=_one_of(
                values, "seeds", {SAME_SEED: False, NEXT_SEED: True, "fixed": False, "counted": True}
            ),
            goes_on_with_composite=_one_of(
                values, "go_on_with", {COMPOSITE: True, BLENDED: False, "composite": True, "blended": False}
            ),
            keeps_between=bool(spellings.truth(values["keep_between"])),
            weights={part: _number(values, part, "weight") for part in STEERED},
            stops={part: _number(values, part, "ending_step") for part in STEERED},
            masks=_masks(values["masks"]),
            answer=_one_of(values, "layers", LAYER_FILES) if values["layers"] else (),
        )


_SHORT_KINDS = {"objects": Kind.OBJECTS, "surroundings": Kind.SURROUNDINGS, "cut_out": Kind.CUT_OUT}


@dataclass(frozen=True)
class Step:
    """One job. `method` is None for an ordinary one; `name` is that of the layer, or of what it is for."""

    part: Part
    name: str
    prompt: str
    method: Method | None = None
    weight: float = 1.0
    ending_step: float = 1.0
    prompts: Mapping[Layer, str] = field(default_factory=dict)
    with_picture: bool = False
    """It begins with the job's init picture, as img2img does."""

    @property
    def doing(self) -> str:
        """What people are told."""
        return {
            Part.BACKGROUND: f"the background ({self.name})" if self.name else "the background",
            Part.TRANSPARENT: f"{self.name}, transparent",
            Part.BLENDING: f"{self.name} in the picture",
            Part.SURROUNDINGS: f"the surroundings of {self.name}",
            Part.OBJECT: f"{self.name} alone",
        }[self.part]


def plan(asked: Asked, family: Family, prompt: str, pictures: int, has_mask: bool) -> list[Step]:
    """Return the steps of one stack, for a page with this prompt, `pictures` init pictures and a mask or not.

    Raises BadSetting, MissingPicture, UnsupportedMethod.
    """
    steps = {
        Kind.OBJECTS: _objects_on_background,
        Kind.SURROUNDINGS: _subject_and_surroundings,
        Kind.CUT_OUT: _cut_out,
    }[asked.kind]
    return list(steps(asked, family, prompt, pictures, has_mask))


def methods_of(steps: Sequence[Step]) -> list[Method]:
    """Return every method that the steps use, once."""
    return list(dict.fromkeys(step.method for step in steps if step.method is not None))


def _objects_on_background(
    asked: Asked, family: Family, prompt: str, pictures: int, has_mask: bool
) -> Iterator[Step]:
    if not asked.objects:
        raise BadSetting(f"{TITLE} has no object to put into the background; write one in each line.")
    if asked.background is None and not pictures:
        yield Step(Part.BACKGROUND, prompt, prompt)
    for thing in asked.objects:
        both = ", ".join(filter(None, [thing, prompt]))
        if family is SD15:
            yield _step(
                asked, Part.OBJECT, family, (Layer.BACKGROUND,), thing, thing, {Layer.BLENDED: prompt}
            )
            continue
        yield _step(asked, Part.BLENDING, family, (Layer.BACKGROUND,), thing, both)
        yield _step(asked, Part.OBJECT, family, (Layer.BACKGROUND, Layer.BLENDED), thing, thing)


def _subject_and_surroundings(
    asked: Asked, family: Family, prompt: str, pictures: int, has_mask: bool
) -> Iterator[Step]:
    if not asked.surroundings:
        raise BadSetting(f"{TITLE} has no prompt for the surroundings; write what is around the subject.")
    name = prompt or "the subject"
    together = asked.together or ", ".join(filter(None, [prompt, asked.surroundings]))
    yield _step(asked, Part.TRANSPARENT, family, (), name, prompt, with_picture=bool(pictures))
    if family is SD15:
        added = {Layer.BLENDED: asked.together or prompt}
        yield _step(asked, Part.BLENDING, family, (Layer.FOREGROUND,), name, asked.surroundings, added)
        return
    yield _step(asked, Part.BLENDING, family, (Layer.FOREGROUND,), name, together)
    needs = (Layer.FOREGROUND, Layer.BLENDED)
    yield _step(asked, Part.SURROUNDINGS, family, needs, name, asked.surroundings)


def _cut_out(asked: Asked, family: Family, prompt: str, pictures: int, has_mask: bool) -> Iterator[Step]:
    if family is SD15:
        raise UnsupportedMethod(
            f'"{Kind.CUT_OUT.value}" needs an SDXL checkpoint: no SD1.5 file makes a foreground out of a '
            "background and a blended picture."
        )
    if not pictures or not (has_mask or asked.masks):
        raise MissingPicture(
            f'"{Kind.CUT_OUT.value}" needs a picture with a mask over the object: use the Inpaint tab of '
            "img2img."
        )
    masks = len(asked.masks) or 1
    if len(asked.objects) > 1 and len(asked.objects) != masks:
        raise BadSetting(
            f"There are {len(asked.objects)} objects and {masks} masks; write a line for each mask, or none."
        )
    for number in range(masks):
        name = asked.objects[number] if asked.objects else f"object {number + 1}" if masks > 1 else "object"
        yield Step(Part.BACKGROUND, f"without {name}", prompt, with_picture=True)
        needs = (Layer.BACKGROUND, Layer.BLENDED)
        yield _step(asked, Part.OBJECT, family, needs, name, asked.objects[number] if asked.objects else "")


def _step(
    asked: Asked,
    part: Part,
    family: Family,
    pictures: tuple[Layer, ...],
    name: str,
    prompt: str,
    prompts: Mapping[Layer, str] | None = None,
    with_picture: bool = False,
) -> Step:
    """The step whose method builds on these pictures: the first of its family that does."""
    method = next(m for m in METHODS if m.family is family and m.pictures == pictures)
    return Step(
        part,
        name,
        prompt,
        method,
        asked.weights[part],
        asked.stops[part],
        {layer: text for layer, text in (prompts or {}).items() if text},
        with_picture,
    )


def _refuse(name: str, value: Any, wanted: str) -> BadSetting:
    return BadSetting(f'{name} of {TITLE} is "{spellings.shown(value)}"; it must be {wanted}.')


def _one_of(values: Mapping[str, Any], name: str, choices: Mapping[str, Any]) -> Any:
    value = values[name]
    for known, meant in choices.items():
        if isinstance(value, str) and value.strip().lower() == known.lower():
            return meant
    raise _refuse(name, value, "one of " + ", ".join(f'"{known}"' for known in choices))


def _number(values: Mapping[str, Any], part: Part, kind: str) -> float:
    name, (low, high) = f"{part.value}_{kind}", RANGES[kind]
    value = values[name]
    try:
        number = float("nan") if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = float("nan")
    if not low <= number <= high:
        raise _refuse(name, value, f"a number from {low:g} to {high:g}")
    return number


def _prompt(values: Mapping[str, Any], name: str) -> str:
    value = values[name]
    if value is not None and not isinstance(value, str):
        raise _refuse(name, value, "text")
    text = (value or "").strip()
    _check_length(name, text)
    return text


def _check_length(name: str, text: str) -> None:
    if len(text) > LONGEST_PROMPT:
        raise BadSetting(
            f"{name} of {TITLE} has a prompt of {len(text)} characters; use at most {LONGEST_PROMPT}."
        )


def _objects(value: Any) -> tuple[str, ...]:
    lines = value.splitlines() if isinstance(value, str) else value
    if lines is None:
        return ()
    if not isinstance(lines, Sequence) or not all(isinstance(line, str) for line in lines):
        raise _refuse("objects", value, "text of one object a line, or a list of texts")
    objects = tuple(line.strip() for line in lines if line.strip())
    if len(objects) > MOST_OBJECTS:
        raise BadSetting(f"{TITLE} has {len(objects)} objects; write at most {MOST_OBJECTS}.")
    for line in objects:
        _check_length("objects", line)
    return objects


def _masks(value: Any) -> tuple[Uint8Image, ...]:
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise _refuse("masks", value, "a list of pictures")
    read = [given_picture(one, "mask") for one in value]
    if any(one is None for one in read):
        raise MissingPicture("One of the masks is missing; give a picture for each.")
    return tuple(one for one in read if one is not None)
