"""What Windows asks for, as far as it shows elsewhere: no calls it lacks, any folder name, any console."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SHIPPED = sorted(
    [*(ROOT / "lib_layerdiffusion").rglob("*.py"), *(ROOT / "scripts").glob("*.py"), ROOT / "install.py"]
)
MODULES = {"fcntl", "grp", "posix", "pwd", "resource", "termios", "tty", "pty", "syslog"}
"""Not there on Windows."""
FUNCTIONS = {
    "os": "fork forkpty getuid geteuid getgid chown lchown mkfifo mknod killpg setsid nice link symlink",
    "signal": "SIGKILL SIGALRM SIGHUP SIGUSR1 SIGUSR2 alarm setitimer",
    "Path": "symlink_to hardlink_to owner group",
}
"""Not there either, or only for administrators."""
TEXT = ("open", "read_text", "write_text")
FOLDER = "WebUI von J\u00f6rg (\u6a21\u578b) & co"


def problems(source: str) -> Iterator[str]:
    """Name what would not work on Windows, or only in its own encoding."""
    names = {name for functions in FUNCTIONS.values() for name in functions.split()}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            wanted = [getattr(node, "module", None) or "", *(alias.name for alias in node.names)]
            yield from (f"imports {name}" for name in wanted if name.partition(".")[0] in MODULES)
        elif isinstance(node, ast.Attribute):
            owner = ast.unparse(node.value)
            if node.attr in FUNCTIONS.get(owner, "").split() or node.attr in FUNCTIONS["Path"].split():
                yield f"uses {owner}.{node.attr}"
        elif isinstance(node, ast.Call):
            function = node.func.attr if isinstance(node.func, ast.Attribute) else ast.unparse(node.func)
            if function in TEXT and not _says_encoding(node) and function not in names:
                yield f"reads or writes text as the system does: {ast.unparse(node)}"
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            if node.value.startswith(("/tmp", "/usr", "/home", "/dev")):
                yield f"has the path {node.value}"


def _says_encoding(call: ast.Call) -> bool:
    given = [ast.unparse(argument) for argument in call.args]
    given += [ast.unparse(keyword.value) for keyword in call.keywords]
    of_pictures = ast.unparse(call.func) in ("Image.open", "webbrowser.open")
    return of_pictures or any("utf-8" in text or text in ("'rb'", "'wb'", "'ab'", "'r+b'") for text in given)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_nothing_that_windows_lacks(path: Path) -> None:
    assert list(problems(path.read_text("utf-8"))) == []


@pytest.mark.parametrize(
    "source",
    [
        "import fcntl",
        "from resource import getrusage",
        "import os\nos.symlink('a', 'b')",
        "import signal\nsignal.signal(signal.SIGALRM, f)",
        "Path('a').symlink_to('b')",
        "open('a')",
        "Path('a').write_text('b')",
        "folder = '/tmp/x'",
    ],
)
def test_what_windows_lacks_is_found(source: str) -> None:
    assert list(problems(source))


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory, models_dir: Path) -> Path:
    """A WebUI's folder with the extension and its weight files in it, as copies."""
    webui = tmp_path_factory.mktemp("hosts") / FOLDER
    extension = webui / "extensions" / "sd layerdiffuse \u00e9"
    for name in ("lib_layerdiffusion", "scripts"):
        shutil.copytree(ROOT / name, extension / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(models_dir / "layer_model", webui / "models" / "layer_model")
    return extension


def run(code: str, extension: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python on a console that knows no more than ASCII, with the extension's own copy of the package."""
    env = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(extension), str(ROOT)]),
        "PYTHONIOENCODING": "ascii",
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, *(["-c", code] if code else []), *arguments]
    return subprocess.run(
        command, env=env, cwd=extension.parent, capture_output=True, encoding="ascii", check=False
    )


JOB = """
import sys
from pathlib import Path
import miniature.webui.script
from miniature.webui.host import MiniatureHost
from miniature.nets.random_weights import base_state_dict, load_base
from miniature.webui.processing import Processing, WebUI
from tests.helpers.jobs import DECODING, arguments

extension = Path(sys.argv[1])
miniature.webui.script.SCRIPT = extension / "scripts" / "forge_layerdiffusion.py"
host = MiniatureHost(extension.parents[1] / "models")
script = miniature.webui.script.load_script(lambda: host)
webui = WebUI(load_base(base_state_dict(seed=1)))
args = arguments(DECODING[0])
p = Processing(webui, prompt="a cup", steps=1, width=64, height=64, scripts=[script], script_args=args)
picture = webui.process_images(p).images[0]
import lib_layerdiffusion
assert Path(lib_layerdiffusion.__file__).is_relative_to(extension)
print(picture.mode, script.problem or "no problem")
"""


def test_a_picture_from_a_folder_of_any_name(installed: Path) -> None:
    done = run(JOB, installed, str(installed))
    assert done.returncode == 0, done.stderr
    assert done.stdout == "RGBA no problem\n"


@pytest.mark.parametrize("arguments", [("doctor",), ("list",), ("where",)])
def test_commands_print_on_any_console(installed: Path, arguments: tuple[str, ...]) -> None:
    done = run("", installed, "-m", "lib_layerdiffusion", *arguments)
    assert "Traceback" not in done.stderr, done.stderr
    assert "\\u6a21\\u578b" in done.stdout
