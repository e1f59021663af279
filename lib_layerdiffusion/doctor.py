"""A report of what LayerDiffuse finds around it: what a bug report needs.

Inside a WebUI it looks at what is loaded. Outside, `main` looks at the files of the WebUI whose extension
this is, or of the one given: nothing of it is imported or run. It then also says what a version that nobody
has run yet would break.
"""

from __future__ import annotations

import ast
import platform
import re
import sys
import warnings
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

from lib_layerdiffusion import __version__, hosts
from lib_layerdiffusion.device import device
from lib_layerdiffusion.hosts import changes, symbols
from lib_layerdiffusion.hosts.capabilities import Ability, Capabilities
from lib_layerdiffusion.methods import FOLDER, RELEASED_FILES, WEIGHT_FILES

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
UNREADABLE = (SyntaxError, ValueError, RecursionError, MemoryError, OSError)
"""What reading a file as Python raises where it is none, or may not be read."""


def report(adapter: str | None, models_dir: Path | None, webui: Path | None = None, problem: str = "") -> str:
    """Return the report, a few dozen lines.

    `adapter` is that of the host ("neo"), None for one without; `webui` the folder of a host to look at from
    outside, None for the one that runs this; `problem` is what keeps LayerDiffuse from running, if anything.
    What cannot be told is one line that says why, and the rest is told all the same.
    """
    whose = "" if webui is None else " of this Python"
    lines = [
        f"LayerDiffuse {__version__}, in {Path(__file__).resolve().parents[1]}",
        *_told("host", lambda: [_host_line(adapter, host_version(webui))]),
        *([f"problem: {problem}"] if problem else []),
    ]
    if adapter is not None:
        lines += _told("abilities", lambda: _abilities(symbols.capabilities(adapter)))
        lines += _told("symbols", lambda: _symbols(adapter, webui))
        if webui is not None:
            lines += _told("signatures", lambda: changes.warnings(adapter, webui))
    lines.append(f"python: {platform.python_version()} on {platform.platform()}")
    lines += _told("packages", lambda: [f"packages{whose}: {', '.join(packages())}"])
    lines += _told("device", lambda: [f"device: {_device()}"])
    lines += _told("models", lambda: _files(models_dir))
    return "\n".join(lines)


def _told(title: str, section: Callable[[], list[str]]) -> list[str]:
    """Return the lines of a section, or the one that says why there are none."""
    try:
        return section()
    except Exception as error:
        return [f"{title}: could not be told ({type(error).__name__}: {error})"]


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
    version = host_version(None)
    where = " ".join(filter(None, [host_name(adapter, version), version]))
    return f"LayerDiffuse {__version__} on {where}: {state}"


def adapter_of(webui: Path) -> str | None:
    """Return the adapter that fits the WebUI in a folder, None where none does. Raises OSError."""

    def fits(adapter: hosts.Adapter) -> bool:
        # by its text: what somebody broke is the same WebUI still
        file = webui.joinpath(*adapter.module.split(".")).with_suffix(".py")
        sign = adapter.has.rpartition(".")[2].encode()
        return file.is_file() and re.search(rb"\b(def|class) " + sign + rb"\b", file.read_bytes()) is not None

    try:
        version = host_version(webui)
    # the report says why
    except Exception:
        version = None
    adapter = hosts.choose(fits, version)
    return None if adapter is None else adapter.file


def missing_symbols(adapter: str, webui: Path | None = None) -> list[str]:
    """Return which of the symbols that an adapter uses are not there: loaded, or in the files of `webui`.

    Of those that a file of `unreadable_files` may define nobody can tell; they are not among them.
    """
    if webui is None:
        return [symbol for symbol in _wanted(adapter) if not _is_loaded(symbol)]
    return _examine(adapter, webui)[0]


def unreadable_files(adapter: str, webui: Path) -> dict[Path, str]:
    """Return the files that ought to define an adapter's symbols and are no Python, each with the reason."""
    return _examine(adapter, webui)[1]


def _wanted(adapter: str) -> list[str]:
    return [symbol for symbol in symbols.modules(adapter) if not symbols.is_optional(symbol)]


def _examine(adapter: str, webui: Path) -> tuple[list[str], dict[Path, str]]:
    """Look for the symbols in the files: those that are missing, and the files that tell nothing."""
    defined: dict[Path, set[str]] = {}
    missing, unreadable = [], {}
    for symbol in _wanted(adapter):
        place = _place(symbol, webui)
        if place is None:
            missing.append(symbol)
            continue
        file, module, name = place
        if file not in defined and file not in unreadable:
            try:
                defined[file] = _defined(_parsed(file))
            except UNREADABLE as error:
                unreadable[file] = _why(error)
        if file in defined and name not in defined[file] and not (module / name).is_dir():
            missing.append(symbol)
    return missing, unreadable


def _symbols(adapter: str, webui: Path | None) -> list[str]:
    lines = [f"symbols missing: {', '.join(missing_symbols(adapter, webui)) or 'none'}"]
    if webui is not None:
        found = unreadable_files(adapter, webui).items()
        lines += [f"cannot be read, so what it defines is unknown: {file} ({why})" for file, why in found]
    return lines


def host_name(adapter: str | None, version: str | None) -> str:
    if adapter is None:
        return "no WebUI that LayerDiffuse knows"
    webui = symbols.capabilities(adapter).webui
    known = hosts.of(adapter).is_named(version)
    return webui if known else f"a WebUI like {webui}, not known by its name,"


def _host_line(adapter: str | None, version: str | None) -> str:
    return f"host: {host_name(adapter, version).removesuffix(',')}, version {version or 'unknown'}"


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


def _place(symbol: str, webui: Path) -> tuple[Path, Path, str] | None:
    """Return the file that ought to define a symbol, its module without a suffix, and the name in it."""
    parts = symbol.split(".")
    for length in range(len(parts) - 1, 0, -1):
        module = webui.joinpath(*parts[:length])
        for file in (module.with_suffix(".py"), module / "__init__.py"):
            if file.is_file():
                return file, module, parts[length]
    return None


def _parsed(file: Path) -> ast.Module:
    """Return what a file says. Raises one of UNREADABLE."""
    with warnings.catch_warnings():
        # hosts have escape sequences that Python warns of
        warnings.simplefilter("ignore")
        return ast.parse(file.read_text("utf-8-sig"))


def _why(error: BaseException) -> str:
    if isinstance(error, SyntaxError) and error.lineno is not None:
        return f"line {error.lineno}: {error.msg}"
    return f"{type(error).__name__}: {error}"


def _defined(tree: ast.Module) -> set[str]:
    """Names that a file defines or imports, whether always or under a condition."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
    return found


def host_version(webui: Path | None) -> str | None:
    """Return what the host calls its version."""
    if webui is None:
        return hosts.version()
    file = webui / "modules_forge" / "forge_version.py"
    try:
        statements = _parsed(file).body
    except UNREADABLE:
        return None
    for node in statements:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
            return str(node.value.value)
    return None


def packages() -> list[str]:
    found = []
    for name in PACKAGES:
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    return found


def _device() -> str:
    found = device()
    if found is None:
        return "not looked at: torch is not loaded"
    memory = f"{found.memory / 2**30:.0f} GiB" if found.memory else ""
    return ", ".join(filter(None, [found.name, memory, found.driver]))


def _files(models_dir: Path | None) -> list[str]:
    if models_dir is None:
        return ["models: folder unknown"]
    folder = models_dir / FOLDER
    lines = [f"models: {folder}{'' if folder.is_dir() else ' (not there yet)'}"]
    names = [
        file.filename for file in WEIGHT_FILES if file in RELEASED_FILES or (folder / file.filename).is_file()
    ]
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
    above = Path(__file__).absolute().parents
    webui = Path(arguments[0]) if arguments else above[min(3, len(above) - 1)]
    adapter, problem = None, f"{webui} is no WebUI that LayerDiffuse knows; name its folder."
    try:
        adapter = adapter_of(webui)
    except OSError as error:
        problem = f"{webui} cannot be read ({error.strerror or error})."
    sys.stdout.write(report(adapter, webui / "models", webui, "" if adapter else problem) + "\n")
    return 0 if adapter is not None and _is_whole(adapter, webui) else 1


def _is_whole(adapter: str, webui: Path) -> bool:
    try:
        return not (
            missing_symbols(adapter, webui)
            or unreadable_files(adapter, webui)
            or changes.breaking(adapter, webui)
        )
    # the report says why
    except Exception:
        return False
