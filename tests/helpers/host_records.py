"""Recorded signatures of the hosts, turned into stub modules."""

from __future__ import annotations

import ast
import sys
import types
from pathlib import Path
from types import ModuleType
from typing import Any

from lib_layerdiffusion.hosts import changes
from lib_layerdiffusion.hosts.records import in_source, read, symbol

__all__ = ["HOSTS", "differences", "in_source", "install", "read", "stubs", "symbol"]

HOSTS = ("forge", "ersatz", "neo", "reforge", "classic", "early_forge")


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
    return [str(change) for change in changes.compare(host, checkout)]


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
