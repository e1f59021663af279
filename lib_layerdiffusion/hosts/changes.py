"""An early warning: what a version of a host that nobody has run yet would break.

The record of a host is compared with the source of a checkout. A signature that changed may still take our
calls, so each call is looked at: whether everything that it hands over is still asked for, and nothing else.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from lib_layerdiffusion.hosts import records, symbols
from lib_layerdiffusion.hosts.capabilities import Ability

PICTURES = (Ability.SDXL, Ability.SD15, Ability.IMG2IMG, Ability.HIRES, Ability.STOP_AT, Ability.BATCHES)
CONDITIONS = (Ability.SDXL, Ability.SD15, Ability.IMG2IMG)
NEEDED_FOR: dict[str, tuple[Ability, ...]] = {
    "scripts/xyz_grid.py": (Ability.XYZ,),
    "extensions-builtin/xyz/": (Ability.XYZ,),
    "modules/options.py": (Ability.SETTINGS,),
    "modules/shared.py OptionInfo": (Ability.SETTINGS,),
    "modules/script_callbacks.py on_ui_settings": (Ability.SETTINGS,),
    "modules/script_callbacks.py on_before_ui": (Ability.XYZ,),
    "modules/script_callbacks.py on_infotext_pasted": (Ability.INFOTEXT,),
    "modules/script_callbacks.py on_before_image_saved": (Ability.ALPHA,),
    "modules/stealth_infotext.py": (Ability.ALPHA,),
    "modules/api/api.py": (Ability.ALPHA,),
    "modules/images.py resize_image": (Ability.IMG2IMG,),
    "modules/images.py split_grid": (Ability.IMG2IMG,),
    "modules/images.py combine_grid": (Ability.IMG2IMG,),
    "modules/images.py flatten": (Ability.IMG2IMG,),
    "modules/images.py": (Ability.ALPHA,),
    "modules/postprocessing.py": (Ability.ALPHA,),
    "modules/processing.py apply_color_correction": (Ability.IMG2IMG,),
    "modules/prompt_parser.py": (Ability.SD15,),
    "modules/sd_models.py": (Ability.HIRES,),
    "modules/shared_state.py State.job": (Ability.BATCHES,),
    "ModelPatcher.set_model_unet_function_wrapper": (Ability.SD15,),
    "percent_to_sigma": (Ability.STOP_AT,),
    "merge_lora_to_weight": (Ability.STOP_AT,),
    "ModelPatcher.patch_weight_to_device": (Ability.STOP_AT,),
    "ModelPatcher.calculate_weight": (Ability.STOP_AT,),
    "sampling_prepare": (Ability.STOP_AT,),
    "VAE.": CONDITIONS,
    "class VAE": CONDITIONS,
    "backend/": PICTURES,
    "ldm_patched/": PICTURES,
    "modules_forge/unet_patcher.py": PICTURES,
}
"""What is in a file and a line of a record: the abilities that hang on it. The first that fits counts, and
everything hangs on what is not named here."""

CALLED_AS = {
    "ModelPatcher": ("make_patcher",),
    "Condition": ("make_condition",),
    "CONDRegular": ("make_condition",),
    "LoRAAdapter": ("lora_adapter",),
}
"""Classes that adapters call by names of their own."""

WHATEVER = "*"


@dataclass(frozen=True)
class Change:
    """One line of a record that is another one in a checkout, "" for what is gone.

    `unknown` says why the file could not be read, if it could not.
    """

    file: str
    recorded: str
    now: str
    breaks: bool = False
    unknown: str = ""

    def abilities(self) -> tuple[Ability, ...]:
        where = f"{self.file} {self.recorded}"
        return next((needed for part, needed in NEEDED_FOR.items() if part in where), tuple(Ability))

    def __str__(self) -> str:
        if self.unknown:
            return f"{self.file} cannot be read ({self.unknown})"
        return f"{self.file}: recorded {self.recorded}, is {self.now or 'gone'}"


def compare(record: str, checkout: Path, calls: Mapping[str, set[str]] | None = None) -> list[Change]:
    """Return what differs between the record of a host and its source.

    `calls` has the names of the arguments that we hand over by name, for each function.
    """
    found = []
    for path, lines in records.read(record).items():
        file = checkout / path
        if not file.is_file():
            found.append(Change(path, path, "", breaks=not _is_optional(path)))
            continue
        try:
            defined = records.in_source(file.read_text("utf-8-sig"))
        except (SyntaxError, ValueError, RecursionError, MemoryError, OSError) as error:
            found.append(Change(path, path, "", unknown=f"{type(error).__name__}: {error}"))
            continue
        for line in lines:
            now = _now(line, defined)
            if now != line:
                found.append(Change(path, line, now, breaks=_breaks(line, now, calls or {})))
    return found


def nearest(adapter: str, checkout: Path) -> tuple[str, list[Change]]:
    """Return the record of an adapter's hosts that is most like a checkout, and what differs from it."""
    calls = names_handed_over(adapter)
    compared = {record: compare(record, checkout, calls) for record in records.OF_ADAPTER[adapter]}
    return min(compared.items(), key=lambda pair: len(pair[1]))


def breaking(adapter: str, checkout: Path) -> list[Change]:
    """Return the changes that an adapter does not work with."""
    return [change for change in nearest(adapter, checkout)[1] if change.breaks]


def warnings(adapter: str, checkout: Path) -> list[str]:
    """Return what to tell of a checkout: what is the same, what would break, and what else is new."""
    record, changes = nearest(adapter, checkout)
    total = sum(len(lines) for lines in records.read(record).values())
    stated = symbols.capabilities(adapter)
    lines = [
        f"signatures: {total - len(changes)} of {total} are those of {stated.webui} ({stated.tested})",
        *(f"would break {_named(change)}: {change}" for change in changes if change.breaks),
        *(str(change) for change in changes if change.unknown),
    ]
    harmless = [
        f"{one.file} {records.symbol(one.recorded)}"
        for one in changes
        if not one.breaks and not one.unknown and one.recorded != one.file
    ]
    if harmless:
        lines.append(f"changed, but takes our calls: {', '.join(harmless)}")
    return lines


def _named(change: Change) -> str:
    abilities = change.abilities()
    return "everything" if abilities == tuple(Ability) else ", ".join(one.value for one in abilities)


@cache
def names_handed_over(adapter: str) -> dict[str, set[str]]:
    """Return the arguments that an adapter's calls hand over by name, for each name that is called.

    WHATEVER is among them for what we put something around, which hands on all that the host hands over.
    """
    found: dict[str, set[str]] = {}
    for file in symbols.FILES[adapter]:
        tree = ast.parse((symbols.FOLDER / f"{file}.py").read_text("utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                name = ast.unparse(node.func).rpartition(".")[2]
                given = {word.arg for word in node.keywords if word.arg is not None}
                found.setdefault(name, set()).update(given)
                if name == "wrap" and isinstance(node.args[1], ast.Constant):
                    found.setdefault(str(node.args[1].value), set()).add(WHATEVER)
    return found


def _is_optional(path: str) -> bool:
    return symbols.is_optional(path.removesuffix(".py").replace("/", "."))


def _now(line: str, defined: Mapping[str, str]) -> str:
    """What a checkout has for a line. A function may take the place of a class, and of its constructor."""
    name = records.symbol(line)
    owner, _, last = name.rpartition(".")
    maker = defined.get(owner, "")
    if last == "__init__" and name not in defined and "(" in maker and not maker.startswith("class "):
        return maker
    return defined.get(name, "")


def _breaks(recorded: str, now: str, calls: Mapping[str, set[str]]) -> bool:
    if not now:
        return True
    if now.startswith("class ") or "(" not in now or recorded.startswith("class ") or "(" not in recorded:
        # it is there, and nothing is known of how it is called
        return False
    name = records.symbol(recorded).removesuffix(".__init__").rpartition(".")[2]
    words = {word for called in (name, *CALLED_AS.get(name, ())) for word in calls.get(called, ())}
    return not _takes(_arguments(recorded), _arguments(now), words)


def _takes(old: ast.arguments, new: ast.arguments, words: set[str]) -> bool:
    """True if what `new` describes takes calls made for `old`, in which `words` are handed over by name."""
    in_order = [name for name in _required_positional(old) if name not in words]
    takers = _positional(new)[: len(in_order)]
    unknown = words & set(_names(old)) - set(_names(new))
    asked = [name for name in _required(new) if name not in words and name not in takers]
    asked = [] if WHATEVER in words else asked
    return not (
        (unknown and new.kwarg is None) or (len(takers) < len(in_order) and new.vararg is None) or asked
    )


def _positional(arguments: ast.arguments) -> list[str]:
    names = [argument.arg for argument in (*arguments.posonlyargs, *arguments.args)]
    return names[1:] if names[:1] == ["self"] else names


def _required_positional(arguments: ast.arguments) -> list[str]:
    names = _positional(arguments)
    return names[: len(names) - len(arguments.defaults)]


def _required(arguments: ast.arguments) -> Iterator[str]:
    yield from _required_positional(arguments)
    for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        if default is None:
            yield argument.arg


def _names(arguments: ast.arguments) -> list[str]:
    return [one.arg for one in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]


def _arguments(line: str) -> ast.arguments:
    inside = line.partition("(")[2].removesuffix(")")
    definition = ast.parse(f"def f({inside}): ...").body[0]
    assert isinstance(definition, ast.FunctionDef)
    return definition.args
