"""What is to be said of a picture that was to become a subject on nothing: by its numbers alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from lib_layerdiffusion.pictures.shares import Shares

CLEAN, WEAK, FAILED = "clean", "weak", "failed"
WORDS = (CLEAN, WEAK, FAILED)
"""From good to bad."""
ALL, MUCH = 0.9, 0.35
"""Covered shares of the frame: nearly all of it, and more than most subjects cover that are cut off."""
VEIL = 0.25
"""Mean alpha of a frame that is covered all around, up to which that is a veil."""
SOME, PLACES = 0.1, 5
"""Share of the frame that is covered in places, and how many: a subject is cut off in fewer."""
APART = 6.5
"""Levels between the passes of the decode; measured, see docs/verdict.md."""
DIGITS = 4
MANY_HOLES, MANY_SPECKS = 0.003, 0.01
"""Shares of the subject."""


class Numbers(NamedTuple):
    """All that is known of a picture; None is what could not be known.

    The first five are those of `Shares`. `patches` are the places where something covers the frame; `holes`
    and `specks` are shares of the subject; `fringe`, `greyness` and `passes_apart` are levels, 0 to 255: how
    far the colours of edges are from what is beside them, what the VAE drew from grey where nothing shows,
    and the passes of the decode from one another.
    """

    border: float
    frame: float
    subject: float
    see_through: float
    clear: float
    patches: int | None = None
    holes: float | None = None
    specks: float | None = None
    fringe: float | None = None
    greyness: float | None = None
    passes_apart: float | None = None

    @classmethod
    def of(cls, shares: Shares) -> Numbers:
        return cls(*shares)


class Reason(NamedTuple):
    """A sentence for what is wrong, and one for the one thing to change.

    `word` is weak for what can be mended in the picture, or may be meant, and failed for what only another
    try may mend.
    """

    word: str
    what: str
    remedy: str


class Verdict(NamedTuple):
    """`word` is clean, weak or failed; `reasons` are the worst first, none where it is clean."""

    word: str
    reasons: tuple[Reason, ...]

    @property
    def told(self) -> dict[str, Any]:
        """What programs are told: the word, what is wrong, and what to do about it."""
        return {
            "verdict": self.word,
            "reasons": [reason.what for reason in self.reasons],
            "remedies": list(dict.fromkeys(reason.remedy for reason in self.reasons)),
        }

    @property
    def text(self) -> str:
        """The same in a line."""
        return in_a_line(self.told)


def in_a_line(told: Mapping[str, Any]) -> str:
    """Return what `Verdict.told` says as text."""
    return ". ".join([told["verdict"], " ".join([*told["reasons"], *told["remedies"]])]).removesuffix(". ")


OTHER_INJECTION = (
    "This checkpoint may be far from what the method was made for: try the other injection (SDXL has two), "
    "or a checkpoint closer to the original."
)
INJECTION_FOR_BACKGROUND = "if that is background, try the other injection."

EMPTY = Reason(FAILED, "Nothing is visible.", "Try another seed.")


def verdict(of: Numbers, if_opaque: str = "") -> Verdict:
    """Return what the numbers say of a picture that was to be one subject on nothing.

    `if_opaque` is the sentence for what to do where the background stays, if the method has one of its own.
    """
    reasons = [reason for reason in _reasons(of, if_opaque) if reason is not None]
    reasons.sort(key=lambda reason: -WORDS.index(reason.word))
    return Verdict(reasons[0].word if reasons else CLEAN, tuple(reasons))


def as_json(verdict: Verdict, numbers: Numbers) -> dict[str, Any]:
    """Return what programs are told, and those numbers that are known."""
    known = {name: round(value, DIGITS) for name, value in numbers._asdict().items() if value is not None}
    return {**verdict.told, **known}


def _reasons(of: Numbers, if_opaque: str) -> list[Reason | None]:
    if of.clear == 1:
        return [EMPTY]
    if of.border >= ALL and of.frame >= VEIL:
        return [Reason(FAILED, "The background is there, not transparent.", if_opaque or OTHER_INJECTION)]
    return [_around(of, if_opaque), _passes(of), _holes(of), _specks(of)]


def _around(of: Numbers, if_opaque: str) -> Reason | None:
    """What is wrong with the background."""
    if of.border >= ALL:
        return Reason(
            WEAK,
            f"A veil of alpha {255 * of.frame:.0f} lies over the background.",
            "Take it off with Clean veil, under Finish.",
        )
    patches = of.patches or 0
    if patches >= PLACES and of.border >= SOME:
        return Reason(
            FAILED,
            f"Patches of the background are left, on {of.border:.0%} of the border.",
            if_opaque or OTHER_INJECTION,
        )
    if of.border >= MUCH:
        background = f"if that is background: {if_opaque}" if if_opaque else INJECTION_FOR_BACKGROUND
        return Reason(
            WEAK,
            f"{of.border:.0%} of the border is covered.",
            f"If the subject is cut off, ask for all of it; {background}",
        )
    return None


def _passes(of: Numbers) -> Reason | None:
    if of.passes_apart is None or of.passes_apart < APART:
        return None
    return Reason(
        FAILED,
        "What is solid and what is see-through is uncertain.",
        OTHER_INJECTION,
    )


def _holes(of: Numbers) -> Reason | None:
    if of.holes is None or of.holes < MANY_HOLES:
        return None
    return Reason(WEAK, "The subject has small holes.", "Close them with Fill holes, under Finish.")


def _specks(of: Numbers) -> Reason | None:
    if of.specks is None or of.specks < MANY_SPECKS:
        return None
    return Reason(WEAK, "Specks lie around the subject.", "Take them off with Remove specks, under Finish.")
