"""The values of the panel and the API as one checked object."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lib_layerdiffusion.errors import BadSetting, MissingPicture
from lib_layerdiffusion.methods import DEFAULT_METHOD, METHODS, Layer, Method, find_method
from lib_layerdiffusion.pictures.arithmetic import ResizeMode, Uint8Image
from lib_layerdiffusion.pictures.finishing import Steps
from lib_layerdiffusion.pictures.reading import given_picture
from lib_layerdiffusion.request import finish, keep, spellings
from lib_layerdiffusion.request.keep import Keep, Repaint
from lib_layerdiffusion.request.trigger_words import TRIGGER_WORDS

ARGUMENTS: tuple[tuple[str, Any], ...] = (
    ("enabled", False),
    ("method", DEFAULT_METHOD.label),
    ("weight", 1.0),
    ("ending_step", 1.0),
    ("fg_image", None),
    ("bg_image", None),
    ("blend_image", None),
    ("resize_mode", ResizeMode.CROP.value),
    ("output_origin", False),
    ("fg_additional_prompt", ""),
    ("bg_additional_prompt", ""),
    ("blend_additional_prompt", ""),
    *((value.name, value.default) for value in finish.PANEL),
    *((value.name, value.default) for value in keep.VALUES),
    (TRIGGER_WORDS.name, TRIGGER_WORDS.default),
)
"""Names and defaults of the script arguments. Their order is the public API and never changes.

The first twelve are those of the released extension; what came since stands behind them.
`output_origin` has had no effect since the released extension's redesign; it keeps its place.
"""
NAMES: tuple[str, ...] = tuple(name for name, _ in ARGUMENTS)

SHORT: dict[Layer, str] = {Layer.FOREGROUND: "fg", Layer.BACKGROUND: "bg", Layer.BLENDED: "blend"}
RANGES: dict[str, tuple[float, float]] = {"weight": (0.0, 2.0), "ending_step": (0.0, 1.0)}
FINISH: dict[str, finish.Value] = {value.name: value for value in finish.PANEL}
REPAINTING: dict[str, finish.Value] = {value.name: value for value in keep.VALUES}
UNFINISHED: dict[str, Any] = {
    **{name: value.default for name, value in FINISH.items()},
    **{value.name: value.default for value in keep.REPAINT},
}
"""Changes nothing of a picture as the method makes it."""
TITLES: dict[str, str] = {
    "enabled": "Enabled",
    "method": "Method",
    "weight": "Weight",
    "ending_step": "Stop At",
    "resize_mode": "Resize Mode",
    **{name: value.title for name, value in (FINISH | REPAINTING).items()},
    TRIGGER_WORDS.name: TRIGGER_WORDS.title,
}
"""What the page calls an argument."""


@dataclass(frozen=True)
class Settings:
    """What the user asked for. `pictures` are RGBA uint8 [H, W, 4], only those that were given.

    `finishing` has the values of FINISH that are not their default, and `steps` is what they mean; `keeping`
    and `keep` are the same of REPAINTING. `trigger_words` says whether the method's join the prompt.
    """

    enabled: bool = False
    method: Method = DEFAULT_METHOD
    weight: float = 1.0
    ending_step: float = 1.0
    pictures: Mapping[Layer, Uint8Image] = field(default_factory=dict)
    resize_mode: ResizeMode = ResizeMode.CROP
    prompts: Mapping[Layer, str] = field(default_factory=dict)
    finishing: Mapping[str, Any] = field(default_factory=dict)
    keeping: Mapping[str, Any] = field(default_factory=dict)
    trigger_words: bool = True

    @property
    def keep(self) -> Keep:
        return keep.keep_of(self.keeping)

    @property
    def repaint(self) -> Repaint | None:
        """What another checkpoint is to do with the pictures; None for methods whose pictures go together."""
        return keep.repaint_of(self.keeping) if self.method.makes_one_alone else None

    @property
    def steps(self) -> Steps:
        return finish.steps_of(self.finishing)

    @classmethod
    def from_args(cls, args: Sequence[Any], changed: Mapping[str, Any] | None = None) -> Settings:
        """Read script arguments; missing ones at the end have their defaults.

        The first may instead be a dictionary with any of them by name, or by a name that the page shows;
        it means enabled unless it says otherwise.
        `changed` takes the place of some, by name. Where disabled nothing else is looked at. Raises
        BadSetting and BadPicture.
        """
        values = _values(args, changed)
        if not _truth(values, "enabled"):
            return cls()
        _truth(values, "output_origin")
        pictures = {
            layer: given_picture(values[f"{short}_image"], layer.value) for layer, short in SHORT.items()
        }
        return cls(
            enabled=True,
            method=_method(values["method"]),
            weight=_number(values, "weight"),
            ending_step=_number(values, "ending_step"),
            pictures={layer: picture for layer, picture in pictures.items() if picture is not None},
            resize_mode=_resize_mode(values["resize_mode"]),
            prompts={
                layer: text
                for layer, short in SHORT.items()
                if (text := _prompt(values, f"{short}_additional_prompt"))
            },
            finishing=_read(FINISH, values),
            keeping=_keeping(values),
            trigger_words=TRIGGER_WORDS.read(values[TRIGGER_WORDS.name]),
        )

    def require_pictures(self) -> None:
        """Raise MissingPicture when the method needs one that was not given."""
        missing = [layer for layer in self.method.pictures if layer not in self.pictures]
        if missing:
            names = " and a ".join(layer.value for layer in missing)
            raise MissingPicture(
                f'"{self.method.label}" needs a {names} picture. '
                "Add it in the LayerDiffuse panel and generate again."
            )


def page_name(args: Sequence[Any]) -> str:
    """Return the name of the page that these script arguments come from, "" where they come from none.

    A page sends it behind those that are settings.
    """
    name = args[len(ARGUMENTS)] if len(args) > len(ARGUMENTS) else ""
    return name if isinstance(name, str) else ""


def enabled_method(args: Sequence[Any], changed: Mapping[str, Any] | None = None) -> Method | None:
    """Return the method of what `Settings.from_args` reads, None where disabled, without reading pictures."""
    values = _values(args, changed)
    return _method(values["method"]) if _truth(values, "enabled") else None


def requested_steps(args: Sequence[Any], changed: Mapping[str, Any] | None = None) -> Steps:
    """Return how pictures are finished, of what `Settings.from_args` reads, without reading pictures."""
    return finish.steps_of(_read(FINISH, _values(args, changed)))


def _read(table: Mapping[str, finish.Value], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of a table that are not their default. Raises BadSetting."""
    read = {name: value.read(values[name]) for name, value in table.items()}
    return {name: value for name, value in read.items() if value != table[name].default}


def _keeping(values: Mapping[str, Any]) -> dict[str, Any]:
    read = _read(REPAINTING, values)
    keep.keep_of(read)
    return read


def _values(args: Sequence[Any], changed: Mapping[str, Any] | None) -> dict[str, Any]:
    return {**dict(ARGUMENTS), **_by_name(args), **(changed or {})}


def _by_name(args: Sequence[Any]) -> dict[str, Any]:
    if not args or not isinstance(args[0], Mapping):
        return spellings.listed(args, NAMES)
    return {"enabled": True, **spellings.named(args[0], NAMES)}


def _refuse(name: str, value: Any, wanted: str) -> BadSetting:
    title = f"{TITLES[name]} ({name})" if name in TITLES else name
    return BadSetting(f'{title} of LayerDiffuse is "{spellings.shown(value)}"; it must be {wanted}.')


def _truth(values: Mapping[str, Any], name: str) -> bool:
    told = spellings.truth(values[name])
    if told is None:
        raise _refuse(name, values[name], "true or false")
    return told


def _method(value: Any) -> Method:
    if not isinstance(value, str):
        known = "; ".join(method.label for method in METHODS)
        raise _refuse("method", value, f"the name of one: {known}")
    return find_method(value)


def _number(values: Mapping[str, Any], name: str) -> float:
    value, (low, high) = values[name], RANGES[name]
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not low <= number <= high:
        raise _refuse(name, value, f"a number from {low:g} to {high:g}")
    return number


def _resize_mode(value: Any) -> ResizeMode:
    try:
        return ResizeMode(value)
    except ValueError:
        known = ", ".join(f'"{mode.value}"' for mode in ResizeMode)
        raise _refuse("resize_mode", value, f"one of {known}") from None


def _prompt(values: Mapping[str, Any], name: str) -> str:
    value = values[name]
    if value is not None and not isinstance(value, str):
        raise _refuse(name, value, "text")
    return (value or "").strip()
