"""What a user may say about a transparent picture that is painted again: its edges, its backdrop, by whom."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lib_layerdiffusion.errors import BadSetting
from lib_layerdiffusion.request import spellings
from lib_layerdiffusion.request.finish import Value, read_colour

BLED = "own colours"
PLAIN = {"grey": (127, 127, 127), "white": (255, 255, 255), "black": (0, 0, 0)}
NOBODY = "None"
BEHIND = (BLED, *PLAIN)
"""What may lie behind the picture, besides any colour."""

KEEPING: tuple[Value, ...] = (
    Value(
        "follow_new_edges",
        "Follow new edges",
        1.0,
        "how far alpha goes along with moved edges; 0 keeps it",
        high=1,
        step=0.05,
    ),
    Value("behind", "Behind", BLED, "what the model sees there; #rrggbb works too"),
)
REPAINT: tuple[Value, ...] = (
    Value(
        "repaint_with",
        "Repaint with",
        NOBODY,
        "another checkpoint, which paints it in its style",
    ),
    Value("repaint_strength", "Repaint strength", 0.5, "its denoising strength", low=0.05, high=1, step=0.05),
    Value("repaint_prompt", "Repaint prompt", "", "added to the prompt for it"),
)
VALUES = (*KEEPING, *REPAINT)


@dataclass(frozen=True)
class Keep:
    """`follow` from 0 to 1; `behind` is a colour, None for the picture's own, bled."""

    follow: float = 1.0
    behind: tuple[int, int, int] | None = None


@dataclass(frozen=True)
class Repaint:
    """By the checkpoint that the host calls so, with a denoising `strength` and an addition to the prompt."""

    checkpoint: str
    strength: float
    prompt: str


def repaint_of(given: Mapping[str, Any]) -> Repaint | None:
    """Return what values by name ask for, None where no checkpoint is named. Raises BadSetting."""
    read = [value.read(given.get(value.name)) for value in REPAINT]
    return None if read[0].lower() in ("", NOBODY.lower()) else Repaint(*read)


def keep_of(given: Mapping[str, Any]) -> Keep:
    """Return what values by name mean; what is missing has its default. Raises BadSetting."""
    follow, behind = (value.read(given.get(value.name)) for value in KEEPING)
    return Keep(follow, _backdrop(behind))


def _backdrop(text: str) -> tuple[int, int, int] | None:
    """Read one of BEHIND, or an opaque colour; None is the picture's own colours. Raises BadSetting."""
    name = text.lower()
    if name in ("", BLED, BLED.replace("colours", "colors")):
        return None
    name = name.replace("gray", "grey")
    if name in PLAIN:
        return PLAIN[name]
    found = read_colour(name)
    if found is None or found[3] < 255:
        raise BadSetting(
            f'Behind (behind) of LayerDiffuse is "{spellings.shown(text)}"; it must be one of '
            f"{', '.join(BEHIND)}, or a colour such as #20a040."
        )
    return found[:3]
