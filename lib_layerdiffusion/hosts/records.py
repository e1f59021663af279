"""What hosts define of the names that LayerDiffuse uses: recorded, and read from the source of a checkout.

A record has a section per file of the host, `[backend/patcher/base.py]`, and a line per symbol: a signature
without annotations for what is called, a class with its bases, a bare name for anything else. Nothing of a
host is imported or run.
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterator
from pathlib import Path

FOLDER = Path(__file__).parent / "signatures"
OF_ADAPTER = {
    "forge": ("forge",),
    "ersatz": ("ersatz",),
    "neo": ("neo",),
    "reforge": ("reforge",),
    "classic": ("classic", "early_forge"),
}
"""Adapter: the records of the hosts it was run on."""


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


def in_source(source: str) -> dict[str, str]:
    """Return the line of every symbol that a file of a host defines, at the top or in a class.

    Raises SyntaxError, ValueError, RecursionError or MemoryError where it is no Python.
    """
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


def _signature(name: str, node: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    for argument in ast.walk(node.args):
        if isinstance(argument, ast.arg):
            argument.annotation = None
    return f"{name}({ast.unparse(node.args)})"


def _set_on_self(function: ast.FunctionDef | ast.AsyncFunctionDef) -> set[str]:
    found = set()
    for node in ast.walk(function):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            if isinstance(node.value, ast.Name) and node.value.id == "self":
                found.add(node.attr)
    return found
