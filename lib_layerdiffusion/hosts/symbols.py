"""Which symbols of its host each adapter uses, read from the adapter's own source.

Two kinds are found: what is imported from a host's packages, with the attributes looked up on it, and the
attributes of objects that a host hands over, which are called by the names in OBJECTS everywhere.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from lib_layerdiffusion.hosts.capabilities import Ability, Capabilities

PACKAGES = ("modules", "modules_forge", "backend", "ldm_patched")
"""Top-level packages of hosts."""

OBJECTS = {
    "p": "processing object",
    "pp": "argument of a picture hook",
    "processed": "result of a job",
    "model": "loaded checkpoint",
    "unet": "UNet patcher",
    "original": "UNet patcher",
    "vae": "VAE",
    "loaded": "entry of the loaded models",
    "params": "picture being saved",
    "plot": "module of the X/Y/Z plot",
    "state": "progress of the job",
    "sampler": "sampler",
    "denoiser": "denoiser of a sampler",
}

SHARED = (
    *(
        "webui",
        "webui_jobs",
        "webui_models",
        "webui_own_jobs",
        "forge_scripts",
        "webui_page",
        "webui_extras",
        "webui_state",
        "webui_vae",
        "result_texts",
    ),
    *("forge_saving", "forge_sampling", "own_weights", "job_methods", "left_out", "saved_files"),
    "early_infotexts",
    *("scene_files", "wrapping"),
)
FILES = {
    "forge": ("forge", "weight_adapters", "backend", *SHARED),
    "ersatz": ("ersatz", "forge", "weight_adapters", "backend", *SHARED),
    "neo": ("neo", "weight_adapters", "backend", *SHARED),
    "reforge": ("reforge", "weight_adapters", "ldm_patched", *SHARED),
    "classic": ("classic", "ldm_patched", *SHARED),
}
"""Adapter: the files it consists of."""

OPTIONAL = ("modules.stealth_infotext", "modules.api.api")
"""Not every host has a stealth writer, nor is its web API always on."""

CORE = ("job", "request")
"""Wings that are given processing objects."""

FOLDER = Path(__file__).parent


@cache
def _tree(file: str) -> ast.Module:
    return ast.parse((FOLDER / f"{file}.py").read_text("utf-8"))


def _chain(node: ast.AST) -> list[str]:
    """Return ["unet", "model", "predictor"] for `unet.model.predictor`, [] for anything but names."""
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.insert(0, node.attr)
        node = node.value
    return [node.id, *names] if isinstance(node, ast.Name) else []


def _chains(tree: ast.AST) -> Iterator[list[str]]:
    """Every chain of attributes; `self.` is left out, so that what an adapter keeps is seen by its name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            chain = _chain(node)
            chain = chain[1:] if chain[:1] == ["self"] else chain
            if len(chain) > 1 and not any(name.startswith("__") for name in chain):
                yield chain


def _looked_up(tree: ast.AST) -> Iterator[list[str]]:
    """The same for `getattr(p, "name", ...)`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "getattr":
            name = node.args[1]
            if isinstance(name, ast.Constant):
                yield [*_chain(node.args[0]), str(name.value)]


def _longest(found: set[str]) -> set[str]:
    return {one for one in found if not any(other.startswith(f"{one}.") for other in found)}


def _names(tree: ast.AST) -> dict[str, str]:
    """Local name: dotted name, of what is imported from a host or looked up among its loaded modules."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in PACKAGES:
            names |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
            if ast.unparse(node.value.func) == "sys.modules.get" and isinstance(
                node.value.args[0], ast.Constant
            ):
                names[ast.unparse(node.targets[0])] = str(node.value.args[0].value)
    return names


def _used(file: str, names: dict[str, str]) -> set[str]:
    tree = _tree(file)
    found = set(names.values())
    for chain in _chains(tree):
        if chain[0] in names:
            found.add(f"{names[chain[0]]}.{chain[1]}")
    for node in ast.walk(tree):
        # what is replaced by name
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "wrap":
            module, name = node.args[0], node.args[1]
            if ast.unparse(module) in names and isinstance(name, ast.Constant):
                found.add(f"{names[ast.unparse(module)]}.{name.value!s}")
    return _longest(found)


def memory_manager(adapter: str) -> str:
    """Return the dotted name of the module that an adapter's host manages its memory with."""
    for file in FILES[adapter]:
        tree = _tree(file)
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "memory":
                return _names(tree)[ast.unparse(node.value)]
    raise LookupError(f"{adapter} has no memory manager")


@cache
def modules(adapter: str) -> dict[str, list[str]]:
    """Return the symbols that an adapter uses of its host's modules, each with the files that use it.

    `backend.memory_management.load_models_gpu`: module and symbol in one.
    """
    memory = memory_manager(adapter)
    where: dict[str, list[str]] = {}
    for file in FILES[adapter]:
        names = _names(_tree(file))
        if file in ("webui", "weight_adapters"):
            names["memory"] = memory
        for symbol in _used(file, names):
            where.setdefault(symbol, []).append(f"{file}.py")
    longest = _longest(set(where))
    return {symbol: where[symbol] for symbol in sorted(longest)}


def is_optional(symbol: str) -> bool:
    """True for a module that not every host has, and its symbols."""
    return any(symbol.startswith(module) for module in OPTIONAL)


def objects(file: str) -> dict[str, list[str]]:
    """Return the attributes that a file uses of each kind of object that hosts hand over."""
    found: dict[str, set[str]] = {}
    tree = _tree(file)
    known = {"p", "pp", "processed"} if file.startswith("..") else set(OBJECTS)
    for first, *rest in [*_chains(tree), *_looked_up(tree)]:
        if first in known and rest:
            found.setdefault(OBJECTS[first], set()).add(".".join(rest))
    return {kind: sorted(_longest(names)) for kind, names in sorted(found.items())}


def capabilities(adapter: str) -> Capabilities:
    """Return what an adapter states of itself; read from its source, since it loads only in its host."""
    for node in ast.walk(_tree(adapter)):
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "capabilities":
            code = compile(ast.Expression(node.value), f"{adapter}.py", "eval")
            stated: Capabilities = eval(code, {"Capabilities": Capabilities, "Ability": Ability})
            return stated
    raise LookupError(f"{adapter}.py states no capabilities")


def table() -> str:
    """Return docs/host-symbols.md."""
    lines = [
        "# What LayerDiffuse uses of each host",
        "",
        "Generated from the code (`python dev.py tables`), and compared with it by the tests. When an update "
        "of a host breaks something, it is one of these.",
    ]
    for adapter, files in FILES.items():
        lines += ["", f"## {capabilities(adapter).webui}", ""]
        lines += [f"Adapter: {', '.join(f'`{file}.py`' for file in files)}.", ""]
        lines += ["| symbol | used in |", "| --- | --- |"]
        lines += [f"| `{symbol}` | {', '.join(where)} |" for symbol, where in modules(adapter).items()]
    lines += ["", "## Objects that hosts hand over", ""]
    lines += ["| object | attributes | used in |", "| --- | --- | --- |"]
    adapters = sorted({file for files in FILES.values() for file in files})
    core = [f"../{wing}/{path.stem}" for wing in CORE for path in sorted((FOLDER.parent / wing).glob("*.py"))]
    for file in [*core, *adapters]:
        for kind, names in objects(file).items():
            cell = ", ".join(f"`{name}`" for name in names)
            lines.append(f"| {kind} | {cell} | {file.removeprefix('../')}.py |")
    return "\n".join(lines) + "\n"


def abilities() -> str:
    """Return the README's table of hosts and abilities, with a sentence below for every exception."""
    stated = [capabilities(adapter) for adapter in FILES]
    notes: list[str] = []

    def cell(one: Capabilities, ability: Ability) -> str:
        sentence = one.missing.get(ability) or one.limits.get(ability)
        if sentence is None:
            return "yes"
        if sentence not in notes:
            notes.append(sentence)
        return f"{'no' if ability in one.missing else 'yes'} ({notes.index(sentence) + 1})"

    lines = [
        f"| | {' | '.join(one.webui for one in stated)} |",
        "| --- |" + " --- |" * len(stated),
        *(f"| {ability.value} | {' | '.join(cell(one, ability) for one in stated)} |" for ability in Ability),
        f"| last run on | {' | '.join(one.tested for one in stated)} |",
    ]
    if notes:
        lines += ["", *(f"({n}) {sentence}" for n, sentence in enumerate(notes, 1))]
    others = [sentence for one in stated for sentence in one.notes]
    if others:
        lines += ["", *others]
    return "\n".join(lines) + "\n"
