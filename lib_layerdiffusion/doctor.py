"""A report of what LayerDiffuse finds around it: what a bug report needs.

Inside a WebUI it looks at what is loaded. Outside, `main` looks at the files of the WebUI whose extension
this is, or of the one given: nothing of it is imported or run.
"""

from __future__ import annotations

import ast
import platform
import sys
import warnings
from importlib import metadata
from pathlib import Path
from typing import Any

from lib_layerdiffusion import __version__
from lib_layerdiffusion.hosts import symbols
from lib_layerdiffusion.hosts.capabilities import Ability, Capabilities
from lib_layerdiffusion.methods import FOLDER, WEIGHT_FILES

PACKAGES = (
    "torch",
    "numpy",
    "pillow",
    "opencv-python",
    "opencv-python-headless",
    "safetensors",
    "einops",
    "gradio",
    "huggingface-hub",
)
SIGNS = {
    "backend/patcher/base.py": ("forge", "neo", "set_model_vae_regulation"),
    "ldm_patched/modules/model_management.py": ("classic", "reforge", "def unload_model_clones"),
}
"""File of a host: its adapter if the file holds the text, or else the other one."""


def report(adapter: str | None, models_dir: Path | None, webui: Path | None = None, problem: str = "") -> str:
    """Return the report, a few dozen lines.

    `adapter` is that of the host ("neo"), None for one without; `webui` the folder of a host to look at from
    outside, None for the one that runs this; `problem` is what keeps LayerDiffuse from running, if anything.
    """
    lines = [f"LayerDiffuse {__version__}, in {Path(__file__).resolve().parents[1]}"]
    version = _version(webui)
    lines.append(f"host: {_host(adapter)}, version {version or 'unknown'}")
    if problem:
        lines.append(f"problem: {problem}")
    if adapter is not None:
        lines += _abilities(symbols.capabilities(adapter))
        missing = missing_symbols(adapter, webui)
        lines.append(f"symbols missing: {', '.join(missing) or 'none'}")
    lines.append(f"python: {platform.python_version()} on {platform.platform()}")
    whose = "" if webui is None else " of this Python"
    lines.append(f"packages{whose}: {', '.join(_packages())}")
    lines.append(f"device: {_device()}")
    lines += _files(models_dir)
    return "\n".join(lines)


def line(adapter: str | None, problem: str = "") -> str:
    """Return what to say at the start of a WebUI."""
    missing = missing_symbols(adapter) if adapter is not None and not problem else []
    if problem:
        state = problem
    elif missing:
        state = f"missing: {', '.join(missing)}"
    else:
        stated = symbols.capabilities(adapter) if adapter is not None else None
        lacking = [ability.value for ability in Ability if stated is not None and not stated.works(ability)]
        state = f"all but {', '.join(lacking)}" if lacking else "everything found"
    where = " ".join(filter(None, [_host(adapter), _version(None)]))
    return f"LayerDiffuse {__version__} on {where}: {state}"


def adapter_of(webui: Path) -> str | None:
    """Return the adapter that fits the WebUI in a folder, None where none does."""
    for name, (with_text, without, text) in SIGNS.items():
        file = webui / name
        if file.is_file():
            return with_text if text in file.read_text("utf-8-sig") else without
    return None


def missing_symbols(adapter: str, webui: Path | None = None) -> list[str]:
    """Return which of the symbols that an adapter uses are not there: loaded, or in the files of `webui`."""
    is_there = _is_loaded if webui is None else lambda symbol: _is_defined(symbol, webui)
    wanted = [symbol for symbol in symbols.modules(adapter) if not symbols.is_optional(symbol)]
    return [symbol for symbol in wanted if not is_there(symbol)]


def _host(adapter: str | None) -> str:
    return "no WebUI that LayerDiffuse knows" if adapter is None else symbols.capabilities(adapter).webui


def _abilities(stated: Capabilities) -> list[str]:
    works = [ability.value for ability in Ability if stated.works(ability)]
    return [f"works: {', '.join(works)}", *(f"note: {sentence}" for sentence in stated.sentences())]


def _is_loaded(symbol: str) -> bool:
    parts = symbol.split(".")
    for length in range(len(parts) - 1, 0, -1):
        found: Any = sys.modules.get(".".join(parts[:length]))
        if found is None:
            continue
        for name in parts[length:]:
            if not hasattr(found, name):
                return False
            found = getattr(found, name)
        return True
    # some are loaded when the page is built, after the scripts
    return parts[-1] in LATE


LATE = frozenset({"InputAccordion", "ForgeCanvas", "run_and_wait_result"})


def _is_defined(symbol: str, webui: Path) -> bool:
    parts = symbol.split(".")
    for length in range(len(parts) - 1, 0, -1):
        path = webui.joinpath(*parts[:length])
        for file in (path.with_suffix(".py"), path / "__init__.py"):
            if file.is_file():
                return parts[length] in _defined(file) or webui.joinpath(*parts[: length + 1]).is_dir()
    return False


def _defined(file: Path) -> set[str]:
    """Names that a file defines or imports, whether always or under a condition."""
    found = set()
    with warnings.catch_warnings():
        # hosts have escape sequences that Python warns of
        warnings.simplefilter("ignore")
        tree = ast.parse(file.read_text("utf-8-sig"))
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
    return found


def _version(webui: Path | None) -> str | None:
    """Return what the host calls its version."""
    if webui is None:
        module = sys.modules.get("modules_forge.forge_version")
        version = getattr(module, "version", None)
        return None if version is None else str(version)
    file = webui / "modules_forge" / "forge_version.py"
    if not file.is_file():
        return None
    for node in ast.parse(file.read_text("utf-8-sig")).body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
            return str(node.value.value)
    return None


def _packages() -> list[str]:
    found = []
    for name in PACKAGES:
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    return found


def _device() -> str:
    torch = sys.modules.get("torch")
    if torch is None:
        return "not looked at: torch is not loaded"
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        return f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _files(models_dir: Path | None) -> list[str]:
    if models_dir is None:
        return ["models: folder unknown"]
    folder = models_dir / FOLDER
    lines = [f"models: {folder}{'' if folder.is_dir() else ' (not there yet)'}"]
    names = [file.filename for file in WEIGHT_FILES]
    for name in names:
        path = folder / name
        if path.is_file():
            lines.append(f"  {name}: {path.stat().st_size} bytes")
        else:
            lines.append(f"  {name}: not there")
    others = sorted(p.name for p in folder.glob("*") if p.name not in names and p.is_file())
    return [*lines, *(f"  {name}: not one of ours" for name in others)]


def main(arguments: list[str]) -> int:
    """Print the report of the WebUI in the folder given, or of the one whose extension this is."""
    # not resolved: an extension may be a link into the WebUI
    webui = Path(arguments[0]) if arguments else Path(__file__).absolute().parents[3]
    adapter = adapter_of(webui)
    problem = "" if adapter is not None else f"{webui} is no WebUI that LayerDiffuse knows; name its folder."
    sys.stdout.write(report(adapter, webui / "models", webui, problem) + "\n")
    return 0 if adapter is not None and not missing_symbols(adapter, webui) else 1
