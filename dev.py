"""The developer's one entry. It needs Python 3.10 to 3.13 and prepares everything else in .venv*.

python dev.py demo [...]     run the miniature host on its built-in pictures; arguments go to it
python dev.py check [...]    formatting, lint, types and tests; arguments go to pytest
python dev.py check --quick  without what takes half a second or more (tests/slow.txt), and other packages
python dev.py timings        run the tests and write tests/slow.txt anew
python dev.py setup          only prepare .venv
python dev.py tables         write anew the tables of hosts, in README.md and docs/host-symbols.md
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO, NamedTuple

ROOT = Path(__file__).resolve().parent
REQUIREMENTS = "requirements-dev.txt"
REQUIREMENTS_3 = "requirements-gradio3.txt"
NEWEST_PINS = (
    "huggingface-hub==2.4.0",
    "opencv-python-headless==5.0.0.93",
    "Pillow==13.0.0",
    "numpy==2.3.5",
    "httpx==0.28.1",
    "safetensors==0.8.0",
    # no host has it: it reads our layered files, and needs a newer Pillow than Forge main's
    "psd-tools==1.26.0",
)
"""Where hosts are going; Forge main has those of requirements-dev.txt."""
ON_NEWEST = (
    *("-p", "tests.helpers.newest_packages"),
    # pictures in and out, weight files, the decode, and what a request says: what these packages can change
    *("tests/pictures", "tests/files", "tests/test_command.py", "tests/models/test_goldens.py"),
    *("tests/request/test_bad_input.py", "tests/request/test_settings.py", "tests/request/test_options.py"),
    *("tests/hosts/test_forge_saving.py", "tests/hosts/test_saved_formats.py"),
    *("tests/hosts/test_kept_pictures.py", "tests/test_status.py"),
)
OLDEST, NEWEST = (3, 10), (3, 13)
NEWEST_3 = (3, 11)
"""Of the packages that go with gradio 3; its hosts run on 3.10."""

# A bare install brings several GB of CUDA packages from PyPI on Linux, unless pip finds a CPU wheel.
# TORCH_INDEX_URL=https://download.pytorch.org/whl/cpu asks for the CPU build; it is used for torch alone.
TORCH = "torch==2.13.0"

TABLE_BEGINS, TABLE_ENDS = "<!-- python dev.py tables -->", "<!-- end of table -->"

SLOW = ROOT / "tests" / "slow.txt"

BROWSERS = ("chromium", "google-chrome", "chromium-browser")
STYLE = (["ruff", "format", "--check", "."], ["ruff", "check", "."])
TYPES = ["mypy"]
# Whole files go to a process, which keeps what the tests of a file share. Three for two cores: some tests
# wait for a browser or a server.
PYTEST = ["pytest", "-n", "3", "--dist", "loadfile", "--no-loadscope-reorder"]
# Where more processes than cores compute, threads of one would wait for each other, busily.
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OPENCV_FOR_THREADS_NUM"), "1")
# What one process has compiled, the others need not, whatever the shell says of that.
NO_BYTECODE = "PYTHONDONTWRITEBYTECODE"


class Failure(Exception):
    """Shown to the developer as it is: one sentence."""


class Environment(NamedTuple):
    """A virtual environment: what pip installs into it, and whose packages it can use besides its own."""

    folder: Path
    installs: tuple[tuple[str, ...], ...]
    size: str
    beside: Path | None = None

    @property
    def python(self) -> Path:
        return self.folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")

    @property
    def ready(self) -> Path:
        return self.folder / ".ready"

    @property
    def packages(self) -> Path:
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        return self.folder / ("Lib" if os.name == "nt" else f"lib/{version}") / "site-packages"

    def fingerprint(self) -> str:
        """Change when a finished environment no longer is what this file would build."""
        files = [one for install in self.installs for one in install if one.endswith(".txt")]
        texts = [(ROOT / name).read_text("utf-8") for name in files]
        parts = (*texts, repr(self.installs), str(self.beside), platform.python_version())
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def is_ready(self) -> bool:
        wanted = self.fingerprint()
        return self.python.exists() and self.ready.exists() and self.ready.read_text("utf-8") == wanted


MAIN = Environment(ROOT / ".venv", ((TORCH,), ("-r", REQUIREMENTS)), "2 GB")
NEWEST_PACKAGES = Environment(ROOT / ".venv-newest", (NEWEST_PINS,), "300 MB", MAIN.packages)
GRADIO_3 = Environment(ROOT / ".venv-gradio3", (("-r", REQUIREMENTS_3),), "400 MB", MAIN.packages)


def run(command: list[str], env: dict[str, str] | None = None) -> int:
    print("$", shlex.join(command), flush=True)
    return subprocess.run(command, cwd=ROOT, env=env, check=False).returncode


def run_tool(tool: list[str], environment: Environment = MAIN) -> int:
    return run([str(environment.python), "-m", *tool])


def check_interpreter() -> None:
    if not OLDEST <= sys.version_info[:2] <= NEWEST:
        here = platform.python_version()
        raise Failure(f"This is Python {here}; run dev.py with Python 3.11 (3.10 to 3.13 work too).")
    if any(importlib.util.find_spec(module) is None for module in ("venv", "ensurepip")):
        raise Failure(
            "This Python cannot create virtual environments; add its venv package "
            "(Debian, Ubuntu: apt install python3-venv) and run dev.py again."
        )


def setup(environment: Environment = MAIN) -> None:
    """Build it from nothing unless a finished one matches; the mark is written last."""
    check_interpreter()
    if environment.is_ready():
        return
    folder = environment.folder
    print(f"Preparing {folder.name}; this takes a few minutes and about {environment.size}.", flush=True)
    if run([sys.executable, "-m", "venv", "--clear", str(folder)]):
        raise Failure(f"Could not create {folder}; delete that folder and run dev.py again.")
    torch_index = os.environ.get("TORCH_INDEX_URL")
    for packages in environment.installs:
        index = ["--index-url", torch_index] if torch_index and TORCH in packages else []
        pip = ["pip", "install", "-q", "--disable-pip-version-check", *index, *packages]
        if run_tool(pip, environment):
            raise Failure(f"pip could not install {packages[-1]}; its messages above say why.")
    if environment.beside is not None:
        # searched after its own packages
        (environment.packages / "beside.pth").write_text(f"{environment.beside}\n", "utf-8")
    environment.ready.write_text(environment.fingerprint(), "utf-8")


def provide_browser() -> None:
    """Install Chromium where that takes no question; without one the browser tests skip themselves."""
    if os.environ.get("CHROMIUM") or any(map(shutil.which, BROWSERS)):
        return
    is_root = hasattr(os, "geteuid") and os.geteuid() == 0
    if not (is_root and shutil.which("apt-get")):
        return
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    install = ["apt-get", "install", "-y", "-q", "--no-install-recommends", "chromium"]
    if run(["apt-get", "update", "-q"], quiet) or run(install, quiet):
        print("No Chromium: the browser tests will be skipped.", flush=True)


def check(arguments: list[str]) -> int:
    """Raises Failure, which names what failed, after everything ran."""
    provide_browser()
    if arguments and arguments != ["--quick"]:
        done = {" ".join(tool[:2]): run_tool(tool) for tool in (*STYLE, TYPES, ["pytest", *arguments])}
    elif arguments:
        done = {" ".join(tool[:2]): run_tool(tool) for tool in STYLE}
        done |= side_by_side({"pytest": ([*PYTEST, "--quick"], MAIN), "mypy": (TYPES, MAIN)})
    else:
        done = {" ".join(tool[:2]): run_tool(tool) for tool in STYLE}
        done |= check_all()
    failed = [name for name, status in done.items() if status]
    if failed:
        raise Failure(f"Failed: {', '.join(failed)}.")
    print("All checks passed.")
    return 0


def check_all() -> dict[str, int]:
    """Types, and the tests over every set of packages that hosts have, all at once."""
    setup(NEWEST_PACKAGES)
    tools = {
        "pytest": (PYTEST, MAIN),
        "mypy": (TYPES, MAIN),
        "pytest with the newest packages": (["pytest", *ON_NEWEST], NEWEST_PACKAGES),
    }
    if sys.version_info[:2] > NEWEST_3:
        print("The tests with gradio 3 are left out: its packages need Python 3.10 or 3.11.", flush=True)
    else:
        setup(GRADIO_3)
        # its queue leaves sockets to the garbage collector
        on_gradio_3 = ["pytest", "-W", "ignore::ResourceWarning", "tests/page"]
        tools["pytest with gradio 3"] = (on_gradio_3, GRADIO_3)
    return side_by_side(tools)


def side_by_side(tools: dict[str, tuple[list[str], Environment]]) -> dict[str, int]:
    """Run tools at once, and print what the first says at once, the others when they are done.

    Returns their exit statuses.
    """
    commands = {name: [str(env.python), "-m", *tool] for name, (tool, env) in tools.items()}
    environment = {name: value for name, value in os.environ.items() if name != NO_BYTECODE} | ONE_THREAD
    with contextlib.ExitStack() as stack:
        started: dict[str, tuple[subprocess.Popen[bytes], IO[bytes] | None]] = {}
        for name, command in commands.items():
            output: IO[bytes] | None = None
            if started:
                output = stack.enter_context(tempfile.TemporaryFile())
            if output is None:
                print("$", shlex.join(command), flush=True)
            process = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT
            )
            started[name] = process, output
        done = {}
        for name, (process, said) in started.items():
            done[name] = process.wait()
            if said is not None:
                said.seek(0)
                print("$", shlex.join(commands[name]))
                print(said.read().decode(errors="replace"), end="", flush=True)
    return done


def write_timings() -> int:
    """Note the tests of half a second or more, and their seconds, fixtures that they use first included."""
    with tempfile.TemporaryDirectory() as folder:
        times = Path(folder) / "times.txt"
        status = run([str(MAIN.python), "-m", *PYTEST, f"--times={times}"])
        pairs = (line.split(" ", 1) for line in times.read_text("utf-8").splitlines())
        slow = {name: float(seconds) for seconds, name in pairs if float(seconds) >= 0.5}
    SLOW.write_text("".join(f"{slow[name]:.1f} {name}\n" for name in sorted(slow)), "utf-8")
    return status


def tables() -> dict[Path, str]:
    """Return the files that hold tables generated from the code, as they ought to be."""
    from lib_layerdiffusion.hosts import symbols

    readme = ROOT / "README.md"
    before, _, rest = readme.read_text("utf-8").partition(TABLE_BEGINS)
    _, _, after = rest.partition(TABLE_ENDS)
    return {
        readme: f"{before}{TABLE_BEGINS}\n{symbols.abilities()}{TABLE_ENDS}{after}",
        ROOT / "docs" / "host-symbols.md": symbols.table(),
    }


def write_tables() -> int:
    for path, content in tables().items():
        path.write_text(content, "utf-8")
    return 0


def main(arguments: list[str]) -> int:
    command, *rest = arguments or ["help"]
    if command not in ("demo", "check", "setup", "tables", "timings"):
        print(__doc__)
        return int(command not in ("help", "-h", "--help"))
    if command == "tables":
        return write_tables()
    setup()
    if command == "demo":
        return run_tool(["miniature", *rest])
    if command == "check":
        return check(rest)
    if command == "timings":
        return write_timings()
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (Failure, OSError) as error:
        sys.exit(f"dev.py: {error}")
    except KeyboardInterrupt:
        sys.exit("dev.py: Interrupted.")
