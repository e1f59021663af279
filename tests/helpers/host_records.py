"""Recorded signatures of the hosts: read from source by parsing, kept as text, turned into stub modules.

A record has a section per file of the host, `[backend/patcher/base.py]`, and a line per symbol: a signature
without annotations for what is called, a class with its bases, a bare name for anything else.
"""

from __future__ import annotations

import ast
import sys
import types
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

FOLDER = Path(__file__).parent / "host_signatures"
HOSTS = ("forge", "ersatz", "neo", "reforge", "classic", "early_forge")


def read(host: str) -> dict[str, list[str]]:
    """Return the record of a host: lines by file."""
    sections: dict[str, list[str]] = {}
    for line in (FOLDER / f"{host}.txt").read_text("utf-8").splitlines():
        if line.startswith("["):
            lines = sections.setdefault(line.strip("[]"), [])
        elif line.strip():
            lines.append(line)
    return sections


def symbol(line: str) -> str:
    """`ModelPatcher.clone` of `ModelPatcher.clone(self)`."""
    return line.removeprefix("class ").partition("(")[0]


def _signature(name: str, node: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    for argument in ast.walk(node.args):
        if isinstance(argument, ast.arg):
            argument.annotation = None
    return f"{name}({ast.unparse(node.args)})"


def in_source(source: str) -> dict[str, str]:
    """Return the line of every symbol that a file of a host defines, at the top or in a class."""
    with warnings.catch_warnings():
        # what a host's authors would have to look after
        warnings.simplefilter("ignore", SyntaxWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        tree = ast.parse(source)
    return dict(_symbols(tree, ""))


def _symbols(tree: ast.Module | ast.ClassDef | ast.If | ast.Try, prefix: str) -> Iterator[tuple[str, str]]:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield prefix + node.name, _signature(prefix + node.name, node)
            if node.name == "__init__":
                for name in sorted(_set_on_self(node)):
                    yield prefix + name, prefix + name
        elif isinstance(node, ast.ClassDef):
            bases = ", ".join(ast.unparse(base) for base in node.bases)
            yield prefix + node.name, f"class {prefix}{node.name}({bases})"
            yield from _symbols(node, f"{prefix}{node.name}.")
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                if isinstance(target, ast.Name):
                    yield prefix + target.id, prefix + target.id
        elif isinstance(node, ast.Import | ast.ImportFrom):
            for alias in node.names:
                name = prefix + (alias.asname or alias.name)
                yield name, name
        elif isinstance(node, ast.If | ast.Try):
            yield from _symbols(node, prefix)


def _set_on_self(function: ast.FunctionDef | ast.AsyncFunctionDef) -> set[str]:
    found = set()
    for node in ast.walk(function):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            if isinstance(node.value, ast.Name) and node.value.id == "self":
                found.add(node.attr)
    return found


def stubs(host: str) -> dict[str, Any]:
    """Make modules with the recorded symbols: functions take the recorded arguments and return None."""
    modules: dict[str, Any] = {}
    for path, lines in read(host).items():
        dotted = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        module = _module(modules, dotted)
        for line in lines:
            _define(module, line)
    return modules


def _module(modules: dict[str, Any], dotted: str) -> Any:
    if dotted not in modules:
        modules[dotted] = ModuleType(dotted)
        modules[dotted].__path__ = []
        parent, _, name = dotted.rpartition(".")
        if parent:
            setattr(_module(modules, parent), name, modules[dotted])
    return modules[dotted]


def _define(module: Any, line: str) -> None:
    owner: Any = module
    *path, name = symbol(line).split(".")
    for part in path:
        if not hasattr(owner, part):
            setattr(owner, part, type(part, (), {}))
        owner = getattr(owner, part)
    if line.startswith("class "):
        base = line.partition("(")[2].rstrip(")")
        bases = (getattr(module, base),) if base and hasattr(module, base) else ()
        setattr(owner, name, types.new_class(name, bases))
    elif "(" in line:
        setattr(owner, name, _function(name, line.partition("(")[2].removesuffix(")")))
    elif not hasattr(owner, name):
        setattr(owner, name, None)


def _function(name: str, arguments: str) -> Any:
    tree = ast.parse(f"def {name}({arguments}): return None")
    definition = tree.body[0]
    assert isinstance(definition, ast.FunctionDef)
    # a default may name something that only the host has
    nothing = ast.Constant(None)
    definition.args.defaults = [nothing for _ in definition.args.defaults]
    definition.args.kw_defaults = [d and nothing for d in definition.args.kw_defaults]
    space: dict[str, Any] = {}
    exec(compile(ast.fix_missing_locations(tree), f"<{name}>", "exec"), space)
    return space[name]


def differences(host: str, checkout: Path) -> list[str]:
    """Compare the record of a host with its source, by parsing; one line per difference."""
    found = []
    for path, lines in read(host).items():
        file = checkout / path
        if not file.exists():
            found.append(f"{path} is gone")
            continue
        defined = in_source(file.read_text("utf-8-sig"))
        for line in lines:
            now = defined.get(symbol(line))
            if now != line:
                found.append(f"{path}: recorded {line}, is {now or 'gone'}")
    return found


def install(monkeypatch: Any, host: str) -> dict[str, Any]:
    """Put a host's stub modules in place of whatever of that name is loaded."""
    for name in list(sys.modules):
        top = name.partition(".")[0]
        if top in ("modules", "modules_forge", "backend", "ldm_patched"):
            monkeypatch.delitem(sys.modules, name)
    made = stubs(host)
    for name, module in made.items():
        monkeypatch.setitem(sys.modules, name, module)
    return made
