"""Who may look at whom, wing by wing, checked against the source.

From the ground up: errors, device, models, weight_files < methods, pictures < files, request, trial < hosts
< networks, page, command, doctor < status, transparency < job < scripts. A new wing, or a new arrow between
two, starts in the table below.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from lib_layerdiffusion.methods import METHODS

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "lib_layerdiffusion"

# What a wing, or a module beside the wings, may import of this package. The first column is in the order of
# the floors: no row names one below it.
WINGS = {
    "": "",
    "errors": "",
    "device": "",
    "models": "",
    "weight_files": "",
    "methods": "weight_files errors",
    "pictures": "errors",
    "files": "models weight_files methods errors",
    "request": "methods pictures errors",
    "hosts": "files request pictures methods errors",
    "networks": "hosts files request weight_files methods models",
    "page": "hosts request pictures weight_files methods errors",
    "command": "files weight_files methods errors",
    "doctor": "hosts methods device",
    "commands": "request pictures errors",
    "status": "doctor hosts files request weight_files methods device errors",
    "trial": "pictures weight_files methods errors",
    "__main__": "commands command doctor trial",
    "transparency": "networks hosts files pictures models weight_files methods errors",
    "job": "transparency page networks hosts files request pictures models methods errors",
    "scripts": "job status doctor page hosts request errors",
}
# Who may import what comes from elsewhere; the standard library is open to all.
PACKAGES = {
    "torch": "models transparency job networks hosts "
    "files.layer_patch files.layout files.lora files.records files.tensors",
    "einops": "models",
    "numpy": "pictures commands hosts.scene_files transparency job page.latest request.settings",
    "cv2": "pictures transparency.voting",
    "PIL": "pictures commands page.latest job.extras job.finished_pictures job.highres_pixels job.hooks "
    "job.init_pictures job.kept_pictures job.layer_results job.layer_run job.previews job.quick_upscale "
    "job.repaints job.further_jobs job.retries job.script_runs job.state hosts",
    # it maps what it reads, and what is mapped ends the process when the file is cut off
    "safetensors": "",
    "huggingface_hub": "files.download files.hub",
    "filelock": "files.download",
    "tqdm": "files.progress commands.finish",
    "gradio": "page.panel page.extras_panel page.layers_panel hosts.webui_page hosts.ldm_patched scripts",
    "modules": "hosts.backend hosts.ldm_patched hosts.webui hosts.webui_extras hosts.webui_jobs "
    "hosts.webui_own_jobs hosts.webui_page hosts.webui_state hosts.forge_saving hosts.classic hosts.ersatz "
    "scripts",
    "modules_forge": "hosts.backend hosts.ldm_patched hosts.classic",
    "backend": "hosts.backend hosts.ersatz hosts.forge hosts.neo",
    "ldm_patched": "hosts.ldm_patched hosts.reforge hosts.classic",
}
ONLY_INSIDE_FUNCTIONS = ("huggingface_hub", "filelock")
NOWHERE = ("diffusers", "torchvision")


def sources(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def module_name(path: Path) -> str:
    """`hosts.base`, `hosts` for its __init__.py, "" for the package itself, `scripts.name`."""
    inside = path.relative_to(ROOT).with_suffix("")
    parts = inside.parts[1:] if inside.parts[0] == PACKAGE else inside.parts
    return ".".join(parts).removesuffix("__init__").rstrip(".")


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


def wing(module: str) -> str:
    return module.partition(".")[0]


def is_among(module: str, names: str) -> bool:
    return wing(module) in names.split() or module in names.split()


def violations(module: str, found: set[tuple[str, bool]]) -> list[str]:
    if wing(module) not in WINGS:
        return [f"{module} is not in the table at the top of {Path(__file__).name}; add its wing"]
    problems = []
    for name, at_import in sorted(found):
        top, _, rest = name.partition(".")
        if top in sys.stdlib_module_names or name == PACKAGE:
            continue
        if top == PACKAGE:
            allowed = wing(rest) in (wing(module), *WINGS[wing(module)].split())
        else:
            allowed = is_among(module, PACKAGES.get(top, ""))
        if not allowed:
            problems.append(f"{module} may not import {name}")
        elif at_import and top in ONLY_INSIDE_FUNCTIONS:
            problems.append(f"{module} may import {name} only inside a function")
    return problems


def arrows() -> dict[str, set[str]]:
    """Every module of the package, and the others of it that it imports when it is imported itself."""
    found = {}
    for path in sources(PACKAGE):
        package = path.relative_to(ROOT).parent.as_posix().replace("/", ".")
        names = (name for name, at_import in imports(path.read_text("utf-8"), package) if at_import)
        found[module_name(path)] = {
            name.partition(".")[2] for name in names if name.startswith(f"{PACKAGE}.")
        }
    return found


@pytest.mark.parametrize("path", sources(PACKAGE, "scripts"), ids=module_name)
def test_imports_follow_the_table(path: Path) -> None:
    module = module_name(path)
    package = path.relative_to(ROOT).parent.as_posix().replace("/", ".")
    assert violations(module, imports(path.read_text("utf-8"), package)) == []


def test_no_arrow_between_wings_points_up() -> None:
    floors = list(WINGS)
    up = [
        (low, high) for low in floors for high in WINGS[low].split() if floors.index(high) > floors.index(low)
    ]
    assert up == []


def test_no_modules_import_each_other() -> None:
    try:
        TopologicalSorter(arrows()).prepare()
    except CycleError as error:
        pytest.fail(f"a circle: {error.args[1]}")


def test_every_wing_and_package_of_the_tables_is_there() -> None:
    modules = [module_name(path) for path in sources(PACKAGE, "scripts")]
    assert set(WINGS) == {wing(module) for module in modules}
    named = {name for names in PACKAGES.values() for name in names.split()}
    assert [name for name in named if name not in modules and name not in WINGS] == []


@pytest.mark.parametrize("path", sources(PACKAGE, "scripts", "miniature", "tests"), ids=module_name)
def test_heavy_packages_are_imported_nowhere(path: Path) -> None:
    found = imports(path.read_text("utf-8"), "")
    assert [name for name, _ in found if name.partition(".")[0] in NOWHERE] == []


def test_core_loads_without_host_gradio_or_hub() -> None:
    code = f"import sys, {PACKAGE}.job.hooks; print(*sys.modules)"
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
        ("methods", "from lib_layerdiffusion.request import settings", "import lib_layerdiffusion.request"),
        ("hosts.base", "from ..job.generation import Generation", "may not import lib_layerdiffusion.job"),
        ("files.download", "import huggingface_hub", "huggingface_hub only inside a function"),
        ("files.store", "import torch", "files.store may not import torch"),
        ("request.settings", "def f():\n    import gradio", "settings may not import gradio"),
        ("pictures.reading", "import importlib\nimportlib.import_module('modules.shared')", "modules.shared"),
        ("scripts.main", "from backend import memory_management", "scripts.main may not import backend"),
        ("novelty", "", "add its wing"),
    ],
)
def test_a_forbidden_arrow_is_reported(module: str, source: str, problem: str) -> None:
    package = f"{PACKAGE}.{module}".rpartition(".")[0]
    (reported,) = violations(module, imports(source, package))
    assert problem in reported


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("files.download", "def fetch():\n    from huggingface_hub import hf_hub_download"),
        ("request.settings", "import json\nfrom lib_layerdiffusion.methods import METHODS"),
        ("models.encoder_and_decoder", "from .blocks import DownBlock"),
    ],
)
def test_an_allowed_arrow_is_not(module: str, source: str) -> None:
    package = f"{PACKAGE}.{module}".rpartition(".")[0]
    assert violations(module, imports(source, package)) == []


def test_methods_are_named_in_their_table_alone() -> None:
    names = {name for method in METHODS for name in (method.label, method.weights.name, *method.aliases)} - {
        ""
    }
    table = ROOT / PACKAGE / "methods.py"
    texts = {path: path.read_text("utf-8") for path in sources(PACKAGE, "scripts")}
    assert all(method.label in texts[table] for method in METHODS)
    found = [
        (path.name, name) for path, text in texts.items() if path != table for name in names if name in text
    ]
    assert found == []


def test_no_file_is_long() -> None:
    """One line says what belongs in a file."""
    lengths = {
        path.relative_to(ROOT).as_posix(): (len(path.read_text("utf-8").splitlines()), most)
        for folder, most in ((PACKAGE, 350), ("scripts", 350), ("miniature", 400), ("tests", 400))
        for path in sources(folder)
    }
    assert [path for path, (length, most) in lengths.items() if length > most] == []
