"""Settings as the text in a picture, and back: every way that older releases wrote it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from lib_layerdiffusion.errors import BadSetting
from lib_layerdiffusion.methods import Layer, Method, find_method
from lib_layerdiffusion.pictures.arithmetic import ResizeMode
from lib_layerdiffusion.request.finish import Value
from lib_layerdiffusion.request.keep import KEEPING
from lib_layerdiffusion.request.options import Options
from lib_layerdiffusion.request.settings import ARGUMENTS, FINISH, RANGES, REPAINTING, SHORT, Settings
from lib_layerdiffusion.request.trigger_words import TRIGGER_WORDS

PREFIX = "layerdiffusion_"
REPAINT_PROMPT = "repaint_prompt"

Params = Mapping[str, Any]
"""What a host read from an infotext: every key with its value as text."""


class Key(str):
    """A key of the infotext that can be called with its `Params`, for the control's value or None.

    Hosts call it when settings are pasted, where None leaves the control alone; and look for its name when
    one tab's controls are sent to another tab's, pictures included.
    """

    read: Callable[[Params], Any]

    def __new__(cls, name: str, read: Callable[[Params], Any]) -> Key:
        key = super().__new__(cls, f"{PREFIX}{name}")
        key.read = read
        return key

    def __call__(self, params: Params) -> Any:
        return self.read(params)


def write(settings: Settings, options: Options) -> dict[str, Any]:
    """Return the keys written into a picture, in their order. Empty prompts are left out.

    Hosts cannot read an empty value back, so a missing prompt key means an empty prompt. A missing number of
    decode passes means 8, as in older pictures; see `complete`. What is missing of the finish was off.
    """
    keys: dict[str, Any] = {
        "enabled": settings.enabled,
        "method": settings.method.label,
        "weight": settings.weight,
        "ending_step": settings.ending_step,
    }
    keys |= {f"{short}_image": layer in settings.pictures for layer, short in SHORT.items()}
    keys["resize_mode"] = settings.resize_mode.value
    for layer, short in SHORT.items():
        if layer in settings.prompts:
            keys[f"{short}_additional_prompt"] = _guarded(settings.prompts[layer])
    if settings.method.decodes_in_passes and options.decode_passes != Options.decode_passes:
        keys["decode_passes"] = options.decode_passes
    if settings.method.makes_alpha:
        keys |= settings.finishing
    if settings.repaint is not None:
        keys |= settings.keeping
        if REPAINT_PROMPT in keys:
            keys[REPAINT_PROMPT] = _guarded(keys[REPAINT_PROMPT])
    elif settings.method.keeps_alpha:
        keys |= {one.name: settings.keeping[one.name] for one in KEEPING if one.name in settings.keeping}
    if settings.method.family.words and not settings.trigger_words:
        keys[TRIGGER_WORDS.name] = False
    return {f"{PREFIX}{name}": value for name, value in keys.items()}


def keys() -> dict[str, Key]:
    """Return the key of each argument that hosts may fill, by the argument's name."""
    readers: dict[str, Callable[[Params], Any]] = {
        "enabled": lambda params: _was_enabled(params) and _method(params) is not None,
        "method": lambda params: method.label if (method := _method(params)) is not None else None,
        "weight": lambda params: _number(params, "weight"),
        "ending_step": lambda params: _number(params, "ending_step"),
        "resize_mode": _resize_mode,
    }
    for short in SHORT.values():
        # a picture cannot be read from text, only sent from tab to tab
        readers[f"{short}_image"] = lambda params: None
        readers[f"{short}_additional_prompt"] = _prompt_reader(f"{PREFIX}{short}_additional_prompt")
    readers |= {name: partial(_finish_value, value) for name, value in (FINISH | REPAINTING).items()}
    readers[TRIGGER_WORDS.name] = partial(_finish_value, TRIGGER_WORDS)
    readers[REPAINT_PROMPT] = _prompt_reader(f"{PREFIX}{REPAINT_PROMPT}")
    return {name: Key(name, readers[name]) for name, _ in ARGUMENTS if name in readers}


def complete(params: dict[str, Any]) -> None:
    """Add what is left out of the infotext of our pictures where it has its default.

    Hosts offer a value as override of a setting only where the infotext has it.
    """
    if _was_enabled(params):
        params.setdefault(f"{PREFIX}decode_passes", str(Options.decode_passes))


def needed_pictures(params: Params) -> tuple[Layer, ...]:
    """Return the pictures that were used with these settings and that the text cannot hold."""
    method = _method(params)
    return method.pictures if method is not None and _was_enabled(params) else ()


def _guarded(text: str) -> str:
    """Quote a text that hosts would write bare and then read as something else.

    They quote what holds a comma, a colon or a line feed; of the rest, what begins with a quote is taken for
    quoted text, and text areas change other control characters.
    """
    if set(text) & set(",:\n"):
        return text
    return json.dumps(text, ensure_ascii=False) if text.startswith('"') or not text.isprintable() else text


def _was_enabled(params: Params) -> bool:
    # an infotext without our keys is of a picture made without us
    return str(params.get(f"{PREFIX}enabled", False)) == "True"


def _method(params: Params) -> Method | None:
    name = params.get(f"{PREFIX}method")
    try:
        return find_method(str(name)) if name else None
    except BadSetting:
        return None


def _number(params: Params, name: str) -> float | None:
    if not _was_enabled(params):
        return None
    try:
        number = float(params.get(f"{PREFIX}{name}", dict(ARGUMENTS)[name]))
    except ValueError:
        return None
    low, high = RANGES[name]
    return number if low <= number <= high else None


def _finish_value(value: Value, params: Params) -> Any:
    if not _was_enabled(params):
        return None
    try:
        return value.read(params.get(f"{PREFIX}{value.name}"))
    except BadSetting:
        return None


def _resize_mode(params: Params) -> str | None:
    if not _was_enabled(params):
        return None
    value = params.get(f"{PREFIX}resize_mode", ResizeMode.CROP.value)
    return value if value in [mode.value for mode in ResizeMode] else None


def _prompt_reader(key: str) -> Callable[[Params], str]:
    def read(params: Params) -> str:
        if f"{key}-1" in params:
            # hosts take "512x512" for a size and split it
            return f"{params[f'{key}-1']}x{params[f'{key}-2']}"
        return str(params.get(key) or "")

    return read
