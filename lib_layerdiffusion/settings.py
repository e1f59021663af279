"""The twelve values of the panel and the API as one checked object, and as infotext."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lib_layerdiffusion.errors import BadSetting, MissingPicture
from lib_layerdiffusion.images import ResizeMode, Uint8Image
from lib_layerdiffusion.methods import DEFAULT_METHOD, Layer, Method, find_method
from lib_layerdiffusion.pictures import read_picture

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
)
"""Names and defaults of the script arguments. Their order is the public API and never changes.

`output_origin` has had no effect since the released extension's redesign; it keeps its place.
"""

SHORT: dict[Layer, str] = {Layer.FOREGROUND: "fg", Layer.BACKGROUND: "bg", Layer.BLENDED: "blend"}
WEIGHT_RANGE = (0.0, 2.0)
STOP_RANGE = (0.0, 1.0)


@dataclass(frozen=True)
class Settings:
    """What the user asked for. `pictures` are RGBA uint8 [H, W, 4], only those that were given."""

    enabled: bool = False
    method: Method = DEFAULT_METHOD
    weight: float = 1.0
    ending_step: float = 1.0
    pictures: Mapping[Layer, Uint8Image] = field(default_factory=dict)
    resize_mode: ResizeMode = ResizeMode.CROP
    prompts: Mapping[Layer, str] = field(default_factory=dict)

    @classmethod
    def from_args(cls, args: Sequence[Any]) -> Settings:
        """Read script arguments; missing ones at the end have their defaults.

        The first may instead be a dictionary with any of them by name, enabled unless it says otherwise.
        Where disabled nothing else is looked at. Raises BadSetting and BadPicture.
        """
        values = {**dict(ARGUMENTS), **_by_name(args)}
        if not _truth(values["enabled"]):
            return cls()
        pictures = {
            layer: read_picture(values[f"{short}_image"], layer.value) for layer, short in SHORT.items()
        }
        return cls(
            enabled=True,
            method=find_method(str(values["method"])),
            weight=_number(values["weight"], "Weight", *WEIGHT_RANGE),
            ending_step=_number(values["ending_step"], "Stop At", *STOP_RANGE),
            pictures={layer: picture for layer, picture in pictures.items() if picture is not None},
            resize_mode=_resize_mode(values["resize_mode"]),
            prompts={
                layer: str(text).strip()
                for layer, short in SHORT.items()
                if (text := values[f"{short}_additional_prompt"]) and str(text).strip()
            },
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

    def infotext(self) -> dict[str, Any]:
        """Return the keys written into a picture, in their order. Empty prompts are left out.

        Hosts cannot read an empty value back, so a missing prompt key means an empty prompt.
        """
        keys: dict[str, Any] = {
            "enabled": self.enabled,
            "method": self.method.label,
            "weight": self.weight,
            "ending_step": self.ending_step,
        }
        keys |= {f"{short}_image": layer in self.pictures for layer, short in SHORT.items()}
        keys["resize_mode"] = self.resize_mode.value
        keys |= {f"{short}_additional_prompt": self.prompts.get(layer) for layer, short in SHORT.items()}
        return {f"layerdiffusion_{name}": value for name, value in keys.items() if value is not None}


def _by_name(args: Sequence[Any]) -> dict[str, Any]:
    names = [name for name, _ in ARGUMENTS]
    if not args or not isinstance(args[0], Mapping):
        return dict(zip(names, args, strict=False))
    unknown = [str(name) for name in args[0] if name not in names]
    if unknown:
        raise BadSetting(f'LayerDiffuse has no setting "{unknown[0]}". It has: {", ".join(names)}.')
    return {"enabled": True, **args[0]}


def _truth(value: Any) -> bool:
    if isinstance(value, str):
        return value.strip().lower() in ("true", "1", "yes", "on")
    return bool(value)


def _number(value: Any, name: str, low: float, high: float) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not low <= number <= high:
        raise BadSetting(
            f'{name} of LayerDiffuse is "{value}"; it must be a number from {low:g} to {high:g}.'
        )
    return number


def _resize_mode(value: Any) -> ResizeMode:
    try:
        return ResizeMode(value)
    except ValueError:
        known = ", ".join(f'"{mode.value}"' for mode in ResizeMode)
        raise BadSetting(f'Resize Mode of LayerDiffuse is "{value}"; it must be one of {known}.') from None
