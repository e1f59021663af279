"""What importing the script adds to the start of a WebUI, against what importing diffusers adds.

    python -m benchmarks.startup [--rounds 11] [--host forge] [--diffusers FOLDER]

Every round starts interpreters that have loaded what every host has by then: torch, gradio, and OpenCV and
others that the host's own code imports. One loads the script file as hosts do, onto stubs of the host's
modules; another the two modules of diffusers that the decoder is written with elsewhere. Without FOLDER,
where `pip install --target FOLDER diffusers` has put it, that part is left out. Times are those of the
processor, which other work on the machine hardly lengthens, and of the clock.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.report import Report, parse, parser

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "scripts" / "forge_layerdiffusion.py"
PRESENT = ("torch", "gradio")
PRESENT_IN_HOSTS = (
    "cv2",
    "einops",
    "safetensors.torch",
    "tqdm",
    "PIL.Image",
    "huggingface_hub",
    "numpy.typing",
)
DIFFUSERS = ("diffusers.models.modeling_utils", "diffusers.models.unets.unet_2d_blocks")
CODE = (".py", ".pyc", ".so", ".pyd", ".dylib", ".dll")


class Stubs:
    """Puts stub modules where a test's monkeypatch would."""

    def setitem(self, modules: dict[str, Any], name: str, module: Any) -> None:
        modules[name] = module

    def delitem(self, modules: dict[str, Any], name: str) -> None:
        del modules[name]


def touched(event: str, arguments: tuple[Any, ...]) -> str | None:
    """Say what an audit event of Python touches, None for code that is being imported, and for the rest."""
    if event.startswith("socket.") and event != "socket.__new__":
        return f"{event} {arguments[1:]}"
    if event in ("subprocess.Popen", "os.system", "os.mkdir", "os.rename", "os.remove"):
        return f"{event} {arguments[:1]}"
    if event == "open" and not str(arguments[0]).endswith(CODE):
        return f"open {arguments[0]}"
    return None


def load_script(host: str, watched: list[str] | None = None) -> dict[str, Any]:
    """Load the script as the host does; return seconds by processor and clock, and the modules added.

    `watched` gets what is touched meanwhile beside the code itself.
    """
    from tests.helpers import host_records

    stubs = host_records.install(Stubs(), host)
    stubs["modules.scripts"].Script = type("Script", (), {})
    for memory in ("backend.memory_management", "ldm_patched.modules.model_management"):
        if memory in stubs:
            stubs[memory].current_loaded_models = []
    stubs["modules.paths"].models_path = str(ROOT / "no" / "such" / "folder")
    before = set(sys.modules)
    if watched is not None:

        def hook(event: str, arguments: tuple[Any, ...]) -> None:
            found = touched(event, arguments) if watching else None
            if found:
                watched.append(found)

        watching = [True]
        sys.addaudithook(hook)
    processor, clock = time.process_time(), time.perf_counter()
    specification = importlib.util.spec_from_file_location(SCRIPT.name, SCRIPT)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    taken = time.process_time() - processor, time.perf_counter() - clock
    if watched is not None:
        watching.clear()
    problem = module.LayerDiffuse.problem
    if problem:
        raise RuntimeError(problem)
    return {"processor": taken[0], "clock": taken[1], "modules": sorted(set(sys.modules) - before)}


def load_diffusers() -> dict[str, Any]:
    """The same for what the plain way imports."""
    before = set(sys.modules)
    processor, clock = time.process_time(), time.perf_counter()
    for name in DIFFUSERS:
        importlib.import_module(name)
    taken = time.process_time() - processor, time.perf_counter() - clock
    return {"processor": taken[0], "clock": taken[1], "modules": sorted(set(sys.modules) - before)}


def child(what: str, host: str, present: list[str]) -> None:
    """Run in an interpreter of its own: load, and print the figures."""
    for name in present:
        importlib.import_module(name)
    watched: list[str] = []
    loaded = load_diffusers() if what == "diffusers" else load_script(host, watched)
    import torch

    accelerator = torch.cuda.is_initialized()
    print(json.dumps({**loaded, "watched": watched, "accelerator": accelerator}))


def run(
    what: str, host: str, present: tuple[str, ...], folder: Path | None, *options: str
) -> tuple[str, str]:
    """Start an interpreter for `child`; return what it printed, and its errors."""
    paths = [str(ROOT), *([str(folder)] if folder else []), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    code = f"from benchmarks.startup import child; child({what!r}, {host!r}, {list(present)!r})"
    done = subprocess.run(
        [sys.executable, *options, "-c", code], capture_output=True, text=True, env=environment, cwd=ROOT
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    return done.stdout.splitlines()[-1], done.stderr


def breakdown(errors: str) -> list[tuple[str, float]]:
    """Modules of the package with the milliseconds of their own import, the longest first."""
    found = []
    for line in errors.splitlines():
        if line.startswith("import time:") and "lib_layerdiffusion" in line:
            own, _, name = line.removeprefix("import time:").split("|")
            found.append((name.strip(), int(own) / 1000))
    return sorted(found, key=lambda one: -one[1])


def main() -> None:
    made = parser(__doc__, rounds=11)
    made.add_argument("--host", default="forge", help="forge, neo, reforge or classic")
    made.add_argument("--diffusers", type=Path, help="a folder with diffusers in it")
    chosen: argparse.Namespace = parse(made)
    report = Report("startup", settings={"host": chosen.host})
    everything = PRESENT + PRESENT_IN_HOSTS
    times: dict[str, list[dict[str, Any]]] = {"ours": [], "bare": [], "plain": []}
    for number in range(-1, chosen.rounds):
        for name, what, present in (
            ("ours", "script", everything),
            ("bare", "script", PRESENT),
            ("plain", "diffusers", everything),
        ):
            if what == "diffusers" and chosen.diffusers is None:
                continue
            found = json.loads(run(what, chosen.host, present, chosen.diffusers)[0])
            if number >= 0:
                times[name].append(found)

    def column(name: str, key: str) -> list[float]:
        return [found[key] for found in times[name]]

    for name, what in (
        ("ours", "the script, in a host"),
        ("bare", "the script, after torch and gradio alone"),
        ("plain", "the two modules of diffusers, in a host"),
    ):
        if times[name]:
            report.figure(
                what,
                processor_ms=1000 * statistics.median(column(name, "processor")),
                clock_ms=1000 * statistics.median(column(name, "clock")),
                modules=len(times[name][0]["modules"]),
            )
    if times["plain"]:
        report.compare("processor time", column("ours", "processor"), column("plain", "processor"))
    _, errors = run("script", chosen.host, everything, None, "-X", "importtime")
    for name, milliseconds in breakdown(errors)[:8]:
        report.figure(name, own_ms=milliseconds)
    report.write(chosen.json)


if __name__ == "__main__":
    main()
