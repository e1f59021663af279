"""What people's programs send for the script's arguments, read as the names that the arguments have."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from lib_layerdiffusion.errors import BadSetting

_WORDS: dict[str, bool] = {
    **dict.fromkeys(("true", "1", "yes", "on"), True),
    **dict.fromkeys(("false", "0", "no", "off", "", "none"), False),
}
_LAYERS = {"fg": ("foreground",), "bg": ("background",), "blend": ("blending", "blended")}
ALIASES: dict[str, str] = {
    "stop_at": "ending_step",
    "output_original_mat_for_img2img": "output_origin",
    **{word: f"{short}_image" for short, words in _LAYERS.items() for word in words},
    **{f"{word}_image": f"{short}_image" for short, words in _LAYERS.items() for word in words},
    **{
        f"{word}_{prompt}": f"{short}_additional_prompt"
        for short, words in _LAYERS.items()
        for word in words
        for prompt in ("additional_prompt", "prompt")
    },
}
"""Other names of arguments: what page and X/Y/Z plot call them, in small letters with one _ between words."""

MEANT: dict[str, tuple[str, ...]] = {
    "model": ("method",),
    "module": ("method",),
    "mode": ("method", "resize_mode"),
    "strength": ("weight",),
    "guidance_end": ("ending_step",),
    "image": ("fg_image", "bg_image", "blend_image"),
    "input_image": ("fg_image", "bg_image", "blend_image"),
    "prompt": ("fg_additional_prompt", "bg_additional_prompt", "blend_additional_prompt"),
}
"""What other scripts call what may be meant."""

SHOWN = 80
"""Characters of a value that a message repeats; it may be a whole picture file."""


def truth(value: Any) -> bool | None:
    """Return what a value says where yes or no is asked, None where it says neither."""
    if value is None or isinstance(value, bool | int | float):
        return bool(value)
    return _WORDS.get(value.strip().lower()) if isinstance(value, str) else None


def shown(value: Any) -> str:
    """Return a value as messages show it."""
    if value is not None and not isinstance(value, str | int | float):
        return type(value).__name__
    text = " ".join(str(value).split())
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 3]}..."


def named(given: Mapping[Any, Any], names: Sequence[str]) -> dict[str, Any]:
    """Return the values by the names that the arguments have, from any spelling. Raises BadSetting."""
    values: dict[str, Any] = {}
    spelled: dict[str, str] = {}
    for key, value in given.items():
        name = _name(str(key), names)
        if name in values:
            raise BadSetting(
                f'LayerDiffuse got {name} twice, as "{spelled[name]}" and as "{shown(key)}"; send one.'
            )
        values[name], spelled[name] = value, shown(key)
    return values


def listed(args: Sequence[Any], names: Sequence[str]) -> dict[str, Any]:
    """Return the values of a list by the names of the arguments. Raises BadSetting where it was shifted."""
    values = dict(zip(names, args, strict=False))
    for number, (name, value) in enumerate(values.items(), 1):
        if name == "enabled" and truth(value) is False:
            break
        if name in ("enabled", "output_origin") and isinstance(value, str) and truth(value) is None:
            raise BadSetting(
                f'Value {number} of the list for LayerDiffuse is "{shown(value)}"; there belongs {name}, '
                f"which is true or false. The values are, in this order: {', '.join(names)}."
            )
    return values


def sent(given: Any, names: Sequence[str]) -> dict[str, Any]:
    """Return what the web API shall get for the script, from what a request has under its name.

    That is an object with a list `args`, or without it where the script is to stay as the page has it.
    Raises BadSetting.
    """
    if isinstance(given, list):
        given = {"args": given}
    elif not isinstance(given, Mapping):
        raise _not_arguments("LayerDiffuse", given, names)
    elif "args" in given:
        for key in given:
            if key != "args":
                raise BadSetting(
                    f'The request has "{shown(key)}" beside "args" of LayerDiffuse, where nothing reads it. '
                    'Put all of its values into "args".'
                )
    elif given:
        given = {"args": [dict(given)]}
    if "args" not in given:
        return dict(given)
    args = given["args"]
    if isinstance(args, Mapping):
        args = [args]
    if not isinstance(args, list):
        raise _not_arguments('"args" of LayerDiffuse', args, names)
    if args and isinstance(args[0], Mapping) and len(args) > 1:
        raise BadSetting(
            '"args" of LayerDiffuse is a list of an object and more; send one object, or a list of values: '
            f"{', '.join(names)}."
        )
    if len(args) > len(names):
        raise BadSetting(
            f'"args" of LayerDiffuse has {len(args)} values; it takes at most {len(names)}, in this order: '
            f"{', '.join(names)}."
        )
    return {"args": args}


def _name(key: str, names: Sequence[str]) -> str:
    plain = re.sub(r"[^a-z0-9]+", "_", key.lower()).strip("_")
    name = ALIASES.get(plain, plain)
    if name in names:
        return name
    near = difflib.get_close_matches(plain, [*names, *ALIASES], n=1, cutoff=0.75)
    meant = MEANT.get(plain) or [ALIASES.get(one, one) for one in near]
    hint = f"; perhaps {' or '.join(meant)} is meant" if meant else ""
    raise BadSetting(f'LayerDiffuse has no setting "{shown(key)}"{hint}. It has: {", ".join(names)}.')


def _not_arguments(what: str, value: Any, names: Sequence[str]) -> BadSetting:
    found = "null" if value is None else f'"{shown(value)}"'
    return BadSetting(
        f"{what} is {found}; it must be an object, or a list of values in this order: {', '.join(names)}."
    )
