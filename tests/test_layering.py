"""Who may import whom, checked against the source; a new module or a new arrow starts in this table."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from lib_layerdiffusion.methods import METHODS

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "lib_layerdiffusion"

# module: (modules of this package, packages from elsewhere). The standard library is open to all.
# A name that matches several rows takes the first.
ALLOWED = {
    "": ("", ""),
    "errors": ("", ""),
    "methods": ("errors", ""),
    "images": ("errors", "numpy cv2 PIL"),
    "pictures": ("images errors", "numpy PIL"),
    "settings": ("methods pictures images errors", "numpy"),
    "progress": ("errors", "tqdm"),
    "memory": ("errors", "torch"),
    "weight_layout": ("layer_patch models.* methods errors", "torch safetensors"),
    "weight_records": ("weight_layout progress methods", "torch safetensors"),
    "download": (
        "weight_layout weight_records progress methods errors",
        "huggingface_hub filelock",
    ),
    "weights": ("download weight_layout weight_records progress methods errors", "torch safetensors"),
    "command": ("weights weight_layout download methods errors", ""),
    "__main__": ("command doctor", ""),
    "networks": ("hosts.base options download weights layer_patch models.* methods", "torch"),
    "decode_ways": ("transparency voting models.* images", "torch"),
    "decoding": (
        "decode_ways networks transparency voting models.* memory progress hosts.base images methods errors",
        "torch numpy",
    ),
    "options": ("errors", ""),
    "infotext": ("settings options methods images errors", ""),
    "xyz_axes": ("settings options methods images errors", ""),
    "latest": ("methods images", "numpy PIL"),
    "checkpoints": ("", ""),
    "layer_patch": ("errors", "torch"),
    "models": ("models.*", "torch einops"),
    "models.*": ("models.*", "torch einops"),
    "voting": ("models.*", "torch numpy cv2"),
    "transparency": ("voting models.* images", "torch numpy"),
    "attention_sharing": ("models.* errors", "torch"),
    "scenes": ("methods", ""),
    "generation": (
        "hosts.base methods settings options weights weight_layout networks decoding layer_patch "
        "attention_sharing voting models.* images errors",
        "torch numpy",
    ),
    "hooks": (
        "generation networks init_pictures infotext xyz_axes latest scenes hosts.base settings methods "
        "images errors",
        "torch numpy PIL",
    ),
    "init_pictures": ("generation hosts.base pictures transparency images errors", "torch numpy PIL"),
    "advice": ("methods", ""),
    "ui": ("hosts.base advice infotext latest methods settings images errors", "gradio"),
    "hosts.base": ("hosts.capabilities layer_patch options progress xyz_axes errors", "torch PIL"),
    "hosts": ("hosts.base errors", ""),
    "hosts.capabilities": ("", ""),
    "hosts.symbols": ("hosts.capabilities", ""),
    "hosts.weight_adapters": ("hosts.base hosts.own_weights hosts.webui layer_patch", "torch"),
    "hosts.own_weights": ("hosts.base", "torch"),
    "hosts.forge_sampling": ("hosts.own_weights errors", "torch"),
    "hosts.webui_page": ("hosts.base checkpoints options xyz_axes", "gradio modules"),
    "hosts.backend": ("hosts.* errors", "torch modules_forge backend"),
    "hosts.forge": ("hosts.* layer_patch", "torch backend"),
    "hosts.neo": ("hosts.* layer_patch", "torch backend"),
    "hosts.ldm_patched": ("hosts.* errors", "torch gradio modules_forge ldm_patched"),
    "hosts.reforge": ("hosts.* layer_patch", "torch ldm_patched"),
    "hosts.classic": ("hosts.* layer_patch", "torch PIL modules modules_forge ldm_patched"),
    "hosts.*": ("hosts.* layer_patch options progress errors", "torch PIL modules"),
    "doctor": ("hosts.symbols hosts.capabilities methods", ""),
    "scripts/*": ("doctor hooks ui infotext xyz_axes hosts errors", "gradio modules"),
}
ONLY_INSIDE_FUNCTIONS = ("huggingface_hub", "filelock")
NOWHERE = ("diffusers", "torchvision")


def sources(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def module_name(path: Path) -> str:
    """`hosts.base`, `hosts` for its __init__.py, "" for the package itself, `scripts/name`."""
    inside = path.relative_to(ROOT).with_suffix("")
    if inside.parts[0] != PACKAGE:
        return inside.as_posix()
    return ".".join(inside.parts[1:]).removesuffix("__init__").rstrip(".")


def is_module(dotted: str) -> bool:
    path = ROOT.joinpath(*dotted.split("."))
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


def imported_by(node: ast.AST, package: str) -> Iterator[str]:
    """Absolute dotted names that one statement or call imports, found in a module of `package`."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        folders = package.split(".")
        above = folders[: len(folders) - node.level + 1] if node.level else []
        base = ".".join([*above, *filter(None, [node.module])])
        for alias in node.names:
            child = f"{base}.{alias.name}"
            yield child if is_module(child) else base
    elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
        function = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if function in ("import_module", "__import__"):
            yield str(node.args[0].value)


def imports(source: str, package: str) -> set[tuple[str, bool]]:
    """Pairs of what `source` imports and whether that happens when the module itself is imported."""
    tree = ast.parse(source)
    functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    inside = {id(inner) for function in functions for inner in ast.walk(function)}
    return {(name, id(node) not in inside) for node in ast.walk(tree) for name in imported_by(node, package)}


def violations(module: str, found: set[tuple[str, bool]]) -> list[str]:
    row = next((ALLOWED[pattern] for pattern in ALLOWED if fnmatchcase(module, pattern)), None)
    if row is None:
        return [f"{module} is not in the table at the top of {Path(__file__).name}; add it"]
    own, outside = (allowed.split() for allowed in row)
    problems = []
    for name, at_import in sorted(found):
        top, _, rest = name.partition(".")
        if top in sys.stdlib_module_names or name == PACKAGE:
            continue
        if top == PACKAGE:
            allowed = any(fnmatchcase(rest, pattern) for pattern in own)
        else:
            allowed = top in outside
        if not allowed:
            problems.append(f"{module} may not import {name}")
        elif at_import and top in ONLY_INSIDE_FUNCTIONS:
            problems.append(f"{module} may import {name} only inside a function")
    return problems


@pytest.mark.parametrize("path", sources(PACKAGE, "scripts"), ids=module_name)
def test_imports_follow_the_table(path: Path) -> None:
    module = module_name(path)
    package = path.relative_to(ROOT).parent.as_posix().replace("/", ".")
    assert violations(module, imports(path.read_text("utf-8"), package)) == []


@pytest.mark.parametrize("path", sources(PACKAGE, "scripts", "miniature", "tests"), ids=module_name)
def test_heavy_packages_are_imported_nowhere(path: Path) -> None:
    found = imports(path.read_text("utf-8"), "")
    assert [name for name, _ in found if name.partition(".")[0] in NOWHERE] == []


def test_core_loads_without_host_gradio_or_hub() -> None:
    code = f"import sys, {PACKAGE}.generation, {PACKAGE}.hooks; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert "torch" in loaded
    unwanted = {"gradio", "huggingface_hub", "modules", "modules_forge", "backend", "ldm_patched", *NOWHERE}
    assert loaded & unwanted == set()


@pytest.mark.parametrize(
    ("module", "source", "problem"),
    [
        ("errors", "import torch", "errors may not import torch"),
        ("methods", "from lib_layerdiffusion import settings", "may not import lib_layerdiffusion.settings"),
        ("hosts.base", "from ..generation import Generation", "may not import lib_layerdiffusion.generation"),
        ("download", "import huggingface_hub", "huggingface_hub only inside a function"),
        ("settings", "def f():\n    import gradio", "settings may not import gradio"),
        ("images", "import importlib\nimportlib.import_module('modules.shared')", "import modules.shared"),
        ("scripts/main", "from backend import memory_management", "scripts/main may not import backend"),
        ("novelty", "", "add it"),
    ],
)
def test_a_forbidden_arrow_is_reported(module: str, source: str, problem: str) -> None:
    package = f"{PACKAGE}.{module}".rpartition(".")[0]
    (reported,) = violations(module, imports(source, package))
    assert problem in reported


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("download", "def fetch():\n    from huggingface_hub import hf_hub_download"),
        ("settings", "import json\nfrom lib_layerdiffusion.methods import METHODS"),
        ("models.transparency", "from .blocks import DownBlock"),
    ],
)
def test_an_allowed_arrow_is_not(module: str, source: str) -> None:
    package = f"{PACKAGE}.{module}".rpartition(".")[0]
    assert violations(module, imports(source, package)) == []


def test_methods_are_named_in_their_table_alone() -> None:
    names = {name for method in METHODS for name in (method.label, method.weights.name, *method.aliases)}
    table = ROOT / PACKAGE / "methods.py"
    texts = {path: path.read_text("utf-8") for path in sources(PACKAGE, "scripts")}
    assert all(method.label in texts[table] for method in METHODS)
    found = [
        (path.name, name) for path, text in texts.items() if path != table for name in names if name in text
    ]
    assert found == []
