"""The tables of hosts: generated from the code, in step with it, and true of the hosts' sources."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import dev
from lib_layerdiffusion import hosts
from lib_layerdiffusion.hosts import records, symbols
from lib_layerdiffusion.hosts.capabilities import Ability, Capabilities
from tests.helpers import host_records

RECORDS = records.OF_ADAPTER


def test_tables_are_those_of_the_code() -> None:
    for path, content in dev.tables().items():
        assert path.read_text("utf-8") == content, f"run `python dev.py tables`: {path.name} is old"


def test_every_adapter_is_in_the_tables() -> None:
    assert {adapter.file for adapter in hosts.ADAPTERS} == set(symbols.FILES)
    files = {file for files in symbols.FILES.values() for file in files}
    present = {path.stem for path in symbols.FOLDER.glob("*.py")}
    assert present - files == {
        *("__init__", "base", "capabilities", "changes", "records", "symbols"),
        *("has_vae", "runs_jobs", "script_following"),
    }


@pytest.mark.parametrize("adapter", symbols.FILES)
def test_symbols_of_a_host_are_in_no_other_hosts_files(adapter: str) -> None:
    family = "ldm_patched" if adapter in ("reforge", "classic") else "backend"
    other = ({"backend", "ldm_patched"} - {family}).pop()
    used = symbols.modules(adapter)
    assert used
    assert not any(symbol.startswith(f"{other}.") for symbol in used)


@pytest.mark.parametrize(
    ("adapter", "symbol"),
    [
        ("forge", "backend.memory_management.unload_model_clones"),
        ("ersatz", "backend.memory_management.unload_model_clones"),
        ("neo", "backend.patcher.lora.weight_adapter"),
        ("reforge", "ldm_patched.modules.model_management.load_models_gpu"),
        ("classic", "modules_forge.main_thread.run_and_wait_result"),
        ("classic", "modules.images.save_image_with_geninfo"),
        ("neo", "modules.stealth_infotext.add_stealth_pnginfo"),
    ],
)
def test_symbols_are_found_however_they_are_used(adapter: str, symbol: str) -> None:
    assert any(used == symbol or used.startswith(f"{symbol}.") for used in symbols.modules(adapter))


def test_symbols_that_a_host_lacks_are_not_used_there() -> None:
    for adapter in ("neo", "reforge"):
        assert not any("unload_model_clones" in symbol for symbol in symbols.modules(adapter))
    assert "patches_uuid" not in str(symbols.objects("forge") | symbols.objects("classic"))


@pytest.mark.parametrize(
    ("adapter", "record"), [(adapter, record) for adapter, names in RECORDS.items() for record in names]
)
def test_what_an_adapter_imports_is_recorded(adapter: str, record: str) -> None:
    """So that the stubs which adapters are tested on have it, with the host's own signature."""
    recorded = {
        f"{path.removesuffix('.py').removesuffix('/__init__').replace('/', '.')}.{host_records.symbol(line)}"
        for path, lines in host_records.read(record).items()
        for line in lines
    }
    aliases = {
        "backend.patcher.lora.weight_adapter.LoRAAdapter": "backend.patcher.lora.weight_adapter",
        "modules.shared.opts": "modules.options.Options",
        "modules.shared.OptionInfo": "modules.options.OptionInfo",
    }
    for symbol in symbols.modules(adapter):
        if not symbols.is_optional(symbol):
            assert aliases.get(symbol, symbol) in recorded, symbol


def test_sentences_are_whole() -> None:
    for adapter in symbols.FILES:
        for sentence in symbols.capabilities(adapter).sentences():
            assert sentence[0].isupper()
            assert sentence.endswith(".")


def test_exceptions_are_numbered_below_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    stated = Capabilities(
        "Some",
        "today",
        missing={Ability.XYZ: "No plot here."},
        limits={Ability.ALPHA: "Only as PNG."},
        notes=("It rains.",),
    )
    monkeypatch.setattr(symbols, "capabilities", lambda adapter: stated)
    table = symbols.abilities()
    assert "| X/Y/Z plot | no (1) | no (1) |" in table
    assert "| alpha kept on save | yes (2) | yes (2) |" in table
    assert "(1) No plot here.\n(2) Only as PNG.\n" in table
    assert "It rains." in table
    assert stated.sentences() == ["No plot here.", "Only as PNG.", "It rains."]


@pytest.mark.parametrize("host", host_records.HOSTS)
def test_records_are_true_of_a_checkout(host: str) -> None:
    """Set LAYERDIFFUSE_FORGE, _ERSATZ, _NEO, _REFORGE ... to the folder of a real host."""
    checkout = os.environ.get(f"LAYERDIFFUSE_{host.upper()}")
    if not checkout:
        pytest.skip(f"LAYERDIFFUSE_{host.upper()} names no checkout to compare with")
    assert host_records.differences(host, Path(checkout)) == []


def test_a_change_of_a_host_is_named(tmp_path: Path) -> None:
    """The comparison above, on a host that is there."""
    for path, lines in host_records.read("neo").items():
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(source_of(lines), "utf-8")
    assert host_records.differences("neo", tmp_path) == []
    unet = tmp_path / "backend/patcher/unet.py"
    text = unet.read_text("utf-8")
    unet.write_text(text.replace("modifier, ensure_uniqueness=False", "modifier, *, unique=False"), "utf-8")
    (tmp_path / "backend/sampling/condition.py").unlink()
    first, second = sorted(host_records.differences("neo", tmp_path))
    assert first == "backend/patcher/unet.py: recorded " + (
        "UnetPatcher.add_conditioning_modifier(self, modifier, ensure_uniqueness=False), is "
        "UnetPatcher.add_conditioning_modifier(self, modifier, *, unique=False)"
    )
    assert second == "backend/sampling/condition.py: recorded backend/sampling/condition.py, is gone"


def source_of(lines: list[str]) -> str:
    """A file that defines what the lines of a record say."""
    written: list[str] = []
    members: dict[str, list[str]] = {}
    classes = {line for line in lines if line.startswith("class ")}
    for line in lines:
        owner, _, name = host_records.symbol(line).rpartition(".")
        code = f"def {line.removeprefix(owner + '.')}: ..." if "(" in line else f"{name} = None"
        if line not in classes:
            (members.setdefault(owner, []) if owner else written).append(code)
    for owner, body in members.items():
        head = next((one for one in classes if host_records.symbol(one) == owner), f"class {owner}()")
        written += [f"{head}:", *(f"    {code}" for code in body)]
    for line in classes:
        if host_records.symbol(line) not in members:
            written.append(f"{line}: ...")
    return "\n".join(written)
