"""What a user may say about finishing a picture: once, for the panel, the Extras tab and the command."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lib_layerdiffusion.errors import BadSetting
from lib_layerdiffusion.pictures.additions import Outline, Shadow
from lib_layerdiffusion.pictures.finishing import Steps
from lib_layerdiffusion.pictures.geometry import ANCHORS, LARGEST_SIDE, Canvas
from lib_layerdiffusion.request import spellings

COLOUR = re.compile(r"#([0-9a-f]{3}|[0-9a-f]{6}|[0-9a-f]{8})", re.IGNORECASE)


@dataclass(frozen=True)
class Value:
    """One value. `title` is what pages call it, the same words as its name; `info` what they say beside it.

    Numbers have a range and the step of their slider; whole ones have a whole default. `shown` is where the
    slider ends, if not with the range. Others are yes or no, or text.
    """

    name: str
    title: str
    default: Any
    info: str = ""
    low: float = 0
    high: float = 0
    step: float = 1
    shown: float | None = None
    panel: bool = False

    @property
    def is_number(self) -> bool:
        return not isinstance(self.default, bool | str)

    def read(self, value: Any) -> Any:
        """Return what was given for it, checked. Raises BadSetting."""
        if value is None:
            return self.default
        if isinstance(self.default, bool):
            told = spellings.truth(value)
            if told is None:
                raise self._refuse(value, "true or false")
            return told
        if self.is_number:
            return self._number(value)
        if not isinstance(value, str):
            raise self._refuse(value, "text")
        return value.strip()

    def _number(self, value: Any) -> float | int:
        whole = isinstance(self.default, int)
        try:
            number = math.nan if isinstance(value, bool) else float(value)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if not self.low <= number <= self.high or (whole and number != int(number)):
            kind = "whole number" if whole else "number"
            raise self._refuse(value, f"a {kind} from {self.low:g} to {self.high:g}")
        return int(number) if whole else number

    def _refuse(self, value: Any, wanted: str) -> BadSetting:
        shown = spellings.shown(value)
        return BadSetting(f'{self.title} ({self.name}) of LayerDiffuse is "{shown}"; it must be {wanted}.')


VALUES: tuple[Value, ...] = (
    Value(
        "decontaminate",
        "Decontaminate",
        0.0,
        "takes a background out of the colours of soft edges; 0 is off, 1 all of it",
        high=1,
        step=0.05,
        panel=True,
    ),
    Value(
        "clean_veil",
        "Clean veil",
        0,
        "alpha up to this becomes 0, of 255; 0 is off, 3 is usual",
        high=254,
        shown=64,
        panel=True,
    ),
    Value(
        "remove_specks",
        "Remove specks",
        0.0,
        "islands below this share of the subject go; 0 is off, 0.005 is usual",
        high=1,
        step=0.0005,
        shown=0.05,
        panel=True,
    ),
    Value(
        "fill_holes",
        "Fill holes",
        0.0,
        "holes below this share of the subject are filled; 0 is off, 0.03 is usual",
        high=1,
        step=0.0005,
        shown=0.1,
        panel=True,
    ),
    Value("trim", "Trim", False, "cut to what is visible", panel=True),
    Value(
        "trim_margin",
        "Trim margin",
        0,
        "pixels around it",
        high=1000,
        shown=128,
        panel=True,
    ),
    Value(
        "alpha_black", "Alpha black", 0, "alpha that becomes 0, of 255; what is above is stretched", high=254
    ),
    Value("alpha_white", "Alpha white", 255, "alpha that becomes 255", low=1, high=255),
    Value("choke", "Choke", 0.0, "pixels that the edge moves inwards; below 0 outwards", -20, 20, 0.1),
    Value("feather", "Feather", 0.0, "pixels that the edge is softened over", 0, 100, 0.1, shown=20),
    Value(
        "bleed", "Bleed", False, "spread colours under the transparency, for programs that make it smaller"
    ),
    Value("canvas", "Canvas", "", "WIDTHxHEIGHT, or a number that both are to be a multiple of"),
    Value("anchor", "Anchor", "center", "where the picture is on it"),
    Value("outline", "Outline", "", "PIXELS,#RRGGBB, for a sticker"),
    Value("shadow", "Shadow", "", "RIGHT,DOWN,BLUR,#RRGGBBAA"),
    Value("premultiply", "Premultiply", False, "colours times alpha, for programs that expect them so"),
)
PANEL: tuple[Value, ...] = tuple(value for value in VALUES if value.panel)
NAMES: tuple[str, ...] = tuple(value.name for value in VALUES)


def steps_of(given: Mapping[str, Any]) -> Steps:
    """Return the steps that values by name mean; what is missing has its default. Raises BadSetting."""
    read = {value.name: value.read(given.get(value.name)) for value in VALUES}
    if read["alpha_black"] >= read["alpha_white"]:
        raise BadSetting(
            f"Alpha black is {read['alpha_black']} and Alpha white {read['alpha_white']}; black must be "
            "below white."
        )
    return Steps(
        veil=read["clean_veil"],
        black=read["alpha_black"],
        white=read["alpha_white"],
        specks=read["remove_specks"],
        holes=read["fill_holes"],
        choke=read["choke"],
        feather=read["feather"],
        decontaminate=read["decontaminate"],
        bleed=read["bleed"],
        trim=read["trim_margin"] if read["trim"] else None,
        canvas=canvas(read["canvas"]),
        anchor=anchor(read["anchor"]),
        outline=outline(read["outline"]),
        shadow=shadow(read["shadow"]),
        premultiply=read["premultiply"],
    )


def canvas(text: str) -> Canvas | None:
    """Read `512x512`, or `64` for sides that are multiples of it; nothing is no canvas. Raises BadSetting."""
    if not text:
        return None
    found = re.fullmatch(r"(\d{1,5})(?:\s*[x*]\s*(\d{1,5}))?", text.strip(), re.IGNORECASE)
    sides = [int(side) for side in found.groups() if side] if found else []
    if not sides or not all(1 <= side <= LARGEST_SIDE for side in sides):
        raise BadSetting(
            f'Canvas is "{spellings.shown(text)}"; it must be WIDTHxHEIGHT in pixels, such as 512x512, or '
            f"one number that both sides are to be a multiple of; {LARGEST_SIDE} at most."
        )
    return Canvas(sides[0], sides[-1], multiple=len(sides) == 1)


def anchor(text: str) -> str:
    """Read the name of an anchor in any spelling. Raises BadSetting."""
    words = set(re.split(r"[\s_-]+", text.lower().replace("centre", "center").replace("middle", "center")))
    words -= {"", "center"}
    for name in ANCHORS:
        if words == set(name.split()) - {"center"}:
            return name
    raise BadSetting(f'Anchor is "{spellings.shown(text)}"; it must be one of {", ".join(ANCHORS)}.')


def outline(text: str) -> Outline | None:
    """Read `6,#ffffff`; nothing is no outline. Raises BadSetting."""
    if not text:
        return None
    values = _list(text, [(1, 100)])
    if values is None:
        raise BadSetting(
            f'Outline is "{spellings.shown(text)}"; it must be PIXELS,#RRGGBB, such as 6,#ffffff, with 1 to '
            "100 pixels."
        )
    return Outline(values[0][0], values[1])


def shadow(text: str) -> Shadow | None:
    """Read `4,6,10,#00000080`; nothing is no shadow. Raises BadSetting."""
    if not text:
        return None
    values = _list(text, [(-500, 500), (-500, 500), (0, 500)])
    if values is None:
        raise BadSetting(
            f'Shadow is "{spellings.shown(text)}"; it must be RIGHT,DOWN,BLUR,#RRGGBBAA, such as '
            "4,6,10,#00000080, in pixels up to 500."
        )
    (right, down, blur), colour = values
    return Shadow(right, down, blur, colour)


def _list(text: str, ranges: list[tuple[int, int]]) -> tuple[list[int], tuple[int, int, int, int]] | None:
    """Numbers and a colour, with commas between; None where the text is anything else."""
    *numbers, colour = (part.strip() for part in text.split(","))
    rgba = read_colour(colour)
    if rgba is None or len(numbers) != len(ranges):
        return None
    try:
        values = [int(number) for number in numbers]
    except ValueError:
        return None
    fit = all(low <= value <= high for value, (low, high) in zip(values, ranges, strict=True))
    return (values, rgba) if fit else None


def read_colour(text: str) -> tuple[int, int, int, int] | None:
    """Read `#rgb`, `#rrggbb` or `#rrggbbaa`: red, green, blue and alpha, 0 to 255; None for other text."""
    found = COLOUR.fullmatch(text)
    if found is None:
        return None
    digits = found[1]
    if len(digits) == 3:
        digits = "".join(2 * digit for digit in digits)
    red, green, blue, alpha = (int(digits[n : n + 2] or "ff", 16) for n in range(0, 8, 2))
    return red, green, blue, alpha
