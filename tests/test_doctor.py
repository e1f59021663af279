"""The doctor's report, of a WebUI that is running and of one that lies on disk."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lib_layerdiffusion import __version__, doctor, hosts
from lib_layerdiffusion.hosts import symbols
from lib_layerdiffusion.methods import METHODS
from tests.helpers import host_records
from tests.helpers.stub_hosts import VERSIONS
from tests.hosts.test_host_tables import source_of

ROOT = Path(__file__).resolve().parent.parent
RECORDS = {
    "forge": "forge",
    "ersatz": "ersatz",
    "neo": "neo",
    "reforge": "reforge",
    "classic": "classic",
    "early": "early_forge",
}


@pytest.fixture(params=RECORDS)
def webui(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path]:
    """A WebUI on disk whose files define what the record of a host says, and the adapter it needs."""
    folder = tmp_path / "WebUI mit Leerzeichen und \u00fc"
    record = host_records.read(RECORDS[request.param])
    for path, lines in record.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(source_of(lines), "utf-8")
        (file.parent / "__init__.py").touch()
    version = VERSIONS[RECORDS[request.param]]
    (folder / "modules_forge" / "forge_version.py").write_text(f'version = "{version}"\n', "utf-8")
    if request.param == "neo":
        (folder / "backend/patcher/lora.py").write_text("from x import weight_adapter\n", "utf-8")
    return {"early": "classic"}.get(request.param, request.param), folder


def test_a_webui_on_disk_is_recognised(webui: tuple[str, Path]) -> None:
    adapter, folder = webui
    assert doctor.adapter_of(folder) == adapter
    assert doctor.missing_symbols(adapter, folder) == []


def test_report_names_everything(webui: tuple[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    adapter, folder = webui
    models = folder / "models" / "layer_model"
    models.mkdir(parents=True)
    present = METHODS[0].weights.filename
    (models / present).write_bytes(b"1234")
    (models / "something else.pt").touch()
    assert doctor.main([str(folder)]) == 0
    report = capsys.readouterr().out
    assert report.startswith(f"LayerDiffuse {__version__}, in {ROOT}\n")
    total = sum(map(len, host_records.read(record_of(folder, adapter)).values()))
    assert f"\nsignatures: {total} of {total} are those of " in report
    version = (folder / "modules_forge" / "forge_version.py").read_text("utf-8").split('"')[1]
    assert f"host: {symbols.capabilities(adapter).webui}, version {version}\n" in report
    assert "works: six SDXL methods, four SD1.5 methods" in report
    assert "symbols missing: none\n" in report
    assert re.search(r"python: 3\.\d+\.\d+ on ", report)
    assert re.search(r"packages of this Python: torch \d", report)
    assert "numpy 2" in report or "numpy 1" in report
    assert "device: " in report
    assert f"models: {models}\n" in report
    assert f"  {present}: 4 bytes\n" in report
    assert report.count(": not there\n") == 13
    assert "  something else.pt: not one of ours\n" in report


def record_of(folder: Path, adapter: str) -> str:
    early = 'version = "0.0.17' in (folder / "modules_forge" / "forge_version.py").read_text("utf-8")
    return "early_forge" if early else adapter


def test_a_symbol_that_an_update_removed_is_named(
    webui: tuple[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    adapter, folder = webui
    symbol = next(s for s in symbols.modules(adapter) if s.endswith(".sampling_prepare"))
    file = folder.joinpath(*symbol.split(".")[:-1]).with_suffix(".py")
    file.write_text(file.read_text("utf-8").replace("sampling_prepare", "prepare_sampling"), "utf-8")
    assert doctor.main([str(folder)]) == 1
    assert f"symbols missing: {symbol}\n" in capsys.readouterr().out


BROKEN = {
    "a merge that was left": (b"x = 1\n<<<<<<< HEAD\ny = 2\n=======\n", r"line 2: .+"),
    "cut off": (b"def f(:\n", r"line 1: .+"),
    "zeros": (b"\0\0\0\0", r".*null bytes.*"),
    "no text": (b"x = '\xff\xfe'\n", r"UnicodeDecodeError: .+"),
    "nested": (b"x = " + b"(" * 5000 + b")" * 5000, r".+"),
    "chained": (b"x = " + b"-" * 200_000 + b"1", r".+"),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_a_file_that_is_no_python_is_named_and_the_rest_told(
    webui: tuple[str, Path], capsys: pytest.CaptureFixture[str], broken: str
) -> None:
    adapter, folder = webui
    content, reason = BROKEN[broken]
    symbol = next(s for s in symbols.modules(adapter) if s.endswith(".sampling_prepare"))
    file = folder.joinpath(*symbol.split(".")[:-1]).with_suffix(".py")
    file.write_bytes(content)
    assert doctor.main([str(folder)]) == 1
    report = capsys.readouterr().out
    named = re.escape(str(file))
    assert re.search(rf"\ncannot be read, so what it defines is unknown: {named} \({reason}\)\n", report)
    assert "symbols missing: none\n" in report
    assert re.search(r"^host: .+, version (?!unknown)", report, re.M)
    assert "device: " in report
    assert report.count(": not there\n") == 14


def test_a_version_and_a_sign_that_are_no_python(
    webui: tuple[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    adapter, folder = webui
    (folder / "modules_forge" / "forge_version.py").write_bytes(b"version = (\n")
    for name in {folder.joinpath(*one.module.split(".")).with_suffix(".py") for one in hosts.ADAPTERS}:
        if name.is_file():
            name.write_bytes(name.read_bytes() + b"\n\xff(\n")
    # without its name it is one of its family
    assert doctor.adapter_of(folder) == {"ersatz": "forge"}.get(adapter, adapter)
    assert doctor.main([str(folder)]) == 1
    report = capsys.readouterr().out
    assert re.search(r"^host: a WebUI like .*, not known by its name, version unknown$", report, re.M)
    assert "cannot be read, so what it defines is unknown: " in report


def test_what_cannot_be_told_is_a_line_and_the_rest_is_told(
    webui: tuple[str, Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is broken: a driver, the records of the packages, a disk, our own files."""
    adapter, folder = webui

    def broken(*arguments: object) -> Any:
        raise RuntimeError("it is broken")

    whole = doctor.report(adapter, folder / "models", folder).splitlines()
    for place in ("_device", "packages", "_files", "host_version", "_abilities", "_wanted"):
        with monkeypatch.context() as patched:
            patched.setattr(doctor, place, broken)
            assert doctor.main([str(folder)]) == int(place == "_wanted")
        report = capsys.readouterr().out.splitlines()
        assert len([line for line in report if "could not be told (RuntimeError: it is broken)" in line]) == 1
        assert report[0] == whole[0]
        assert len(report) >= len(whole) - 15


CHANGES = {
    "one more argument": ("sampling_prepare(unet, x)", "sampling_prepare(unet, x, device)", "Stop At"),
    "one less": ("sampling_prepare(unet, x)", "sampling_prepare(unet)", "Stop At"),
    "another name": ("strength_patch=1.0", "amount=1.0", "six SDXL methods, four SD1.5 methods, img2img"),
    "gone": ("def on_ui_settings", "def on_settings", "settings"),
    "taken over": ("class ModelPatcher", "class Patcher", "six SDXL methods, four SD1.5 methods, img2img"),
    "hook": ("def post_sample(", "def after_sample(", "everything"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_version_never_seen_is_told_what_it_would_break(
    webui: tuple[str, Path], capsys: pytest.CaptureFixture[str], change: str
) -> None:
    _, folder = webui
    old, new, ability = CHANGES[change]
    files = [file for file in folder.rglob("*.py") if old in file.read_text("utf-8")]
    for file in files:
        file.write_text(file.read_text("utf-8").replace(old, new), "utf-8")
    assert doctor.main([str(folder)]) == 1
    report = capsys.readouterr().out
    where = files[0].relative_to(folder).as_posix()
    assert re.search(rf"^would break {re.escape(ability)}.*: {where}: recorded .*, is .+$", report, re.M)


def test_changes_that_take_our_calls_break_nothing(
    webui: tuple[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    _, folder = webui
    changes = {
        "sampling_prepare(unet, x)": "sampling_prepare(patcher, latents, *, fast=False)",
        "soft_empty_cache(force=False)": "soft_empty_cache(**how)",
        "image_grid(imgs, batch_size=1, rows=None)": "image_grid(*imgs)",
        # what we put something around gets whatever the host hands over
        "run_postprocessing(extras_mode, ": "run_postprocessing(mode, page, ",
    }
    for file in folder.rglob("*.py"):
        text = file.read_text("utf-8")
        for old, new in changes.items():
            text = text.replace(old, new)
        file.write_text(text, "utf-8")
    (folder / "modules" / "stealth_infotext.py").unlink(missing_ok=True)
    assert doctor.main([str(folder)]) == 0
    report = capsys.readouterr().out
    assert "would break" not in report
    (line,) = re.findall(r"^changed, but takes our calls: (.+)$", report, re.M)
    assert {one.split()[-1] for one in line.split(", ")} == {one.partition("(")[0] for one in changes}


def test_a_webui_that_may_not_be_read(
    webui: tuple[str, Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, folder = webui

    def refused(self: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refused)
    assert doctor.main([str(folder)]) == 1
    assert f"problem: {folder} cannot be read (Permission denied).\n" in capsys.readouterr().out


def test_an_installation_that_is_not_where_extensions_are(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    root = Path(tmp_path.anchor)
    monkeypatch.setattr(doctor, "__file__", str(root / "doctor.py"))
    monkeypatch.setattr(doctor, "adapter_of", lambda webui: None)
    monkeypatch.setattr(doctor, "report", lambda *arguments: str(arguments[2]))
    assert doctor.main([]) == 1
    assert capsys.readouterr().out == f"{root}\n"


def test_a_folder_that_is_no_webui(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.main([str(tmp_path)]) == 1
    report = capsys.readouterr().out
    assert "host: no WebUI that LayerDiffuse knows" in report
    assert f"problem: {tmp_path} is no WebUI" in report


def test_a_running_webui_is_looked_at_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    made = host_records.install(monkeypatch, "reforge")
    made["modules_forge.forge_version"].version = "1.0.0v2"
    made["ldm_patched.modules.weight_adapter"].LoRAAdapter = object
    assert doctor.line("reforge") == f"LayerDiffuse {__version__} on reForge 1.0.0v2: everything found"
    del made["ldm_patched.modules.conds"].CONDRegular
    expected = "missing: ldm_patched.modules.conds.CONDRegular"
    assert doctor.line("reforge").endswith(f" on reForge 1.0.0v2: {expected}")
    assert "symbols missing: ldm_patched.modules.conds.CONDRegular\n" in doctor.report("reforge", None)
    made["modules_forge.forge_version"].version = "1.2.3"
    assert " on a WebUI like reForge, not known by its name, 1.2.3: missing" in doctor.line("reforge")
    assert doctor.line(None, "No such host.").endswith(": No such host.")


def test_it_runs_without_a_host_or_torch() -> None:
    """The report must come out even where nothing else does."""
    code = (
        "import sys\n"
        "for name in ('torch', 'numpy', 'safetensors', 'gradio', 'cv2'): sys.modules[name] = None\n"
        "sys.argv[1:] = ['doctor']\n"
        "import lib_layerdiffusion.__main__"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.startswith("LayerDiffuse "), done.stderr
    assert "device: not looked at: torch is not loaded\n" in done.stdout
