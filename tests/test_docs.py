"""What the documents name is there, and each thing is told once."""

from __future__ import annotations

import ast
import re
from collections import Counter
from pathlib import Path

import pytest

import dev
from lib_layerdiffusion.methods import RELEASED
from lib_layerdiffusion.request.options import OPTIONS

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "lib_layerdiffusion"
DOCUMENTS = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in ("*.md", "docs/*.md", "miniature/README.md", "benchmarks/README.md")
    for path in ROOT.glob(pattern)
)
WITH_TESTS = ("docs/faults.md", "docs/quirks.md")
GENERATED = "docs/host-symbols.md"
LONGEST_README = 170


def text(document: str) -> str:
    return (ROOT / document).read_text("utf-8")


def prose(document: str) -> str:
    """The document without its code, tables and picture."""
    without_code = re.sub(r"^```.*?^```", "", text(document), flags=re.S | re.M)
    return "\n".join(line for line in without_code.splitlines() if not line.startswith(("|", "![")))


def known_tests() -> dict[str, set[str]]:
    return {
        path.stem: {
            node.name
            for node in ast.walk(ast.parse(path.read_text("utf-8")))
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
        }
        for path in (ROOT / "tests").rglob("test_*.py")
    }


@pytest.mark.parametrize("document", WITH_TESTS)
def test_every_test_that_a_document_names_exists(document: str) -> None:
    known = known_tests()
    named = re.findall(r"`(test_\w+)(?:::(test_\w+))?`", text(document))
    assert len(named) > 20
    for first, second in named:
        if second:
            assert second in known[first], (first, second)
        else:
            assert first in known or any(first in tests for tests in known.values()), first


def test_every_fault_has_a_test() -> None:
    rows = [line for line in text("docs/faults.md").splitlines() if line.startswith("| ")]
    faults = [row for row in rows if not row.startswith(("| fault", "| ---"))]
    assert len(faults) > 35
    assert [row for row in faults if "`test_" not in row] == []


def anchors(path: Path) -> set[str]:
    """What a link may name after # in a document: its headings, as GitHub writes them."""
    headings = re.findall(r"^#+ (.+)$", path.read_text("utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_inside_the_project_lead_somewhere(document: str) -> None:
    path = ROOT / document
    for target in re.findall(r"\]\(([^)\s]+)\)", text(document)):
        if target.startswith("http"):
            continue
        name, _, anchor = target.partition("#")
        there = path.parent / name if name else path
        assert there.exists(), target
        assert not anchor or anchor in anchors(there), target


def test_every_document_can_be_reached_from_the_readme() -> None:
    reached, waiting = set(), ["README.md"]
    while waiting:
        document = waiting.pop()
        reached.add(document)
        for name in re.findall(r"\]\(([^)#\s]+\.md)", text(document)):
            found = ((ROOT / document).parent / name).resolve().relative_to(ROOT).as_posix()
            if found not in reached:
                waiting.append(found)
    assert set(DOCUMENTS) - reached == set()


def test_the_readme_stays_short() -> None:
    assert len(text("README.md").splitlines()) <= LONGEST_README


def test_no_sentence_is_told_twice() -> None:
    told = Counter(
        " ".join(sentence.split())
        for document in DOCUMENTS
        if document != GENERATED
        for sentence in re.split(r"(?<=[.:])\s+|\n\n|\n- ", prose(document))
    )
    assert [sentence for sentence, count in told.items() if count > 1 and len(sentence.split()) > 4] == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_commands_that_a_document_names_exist(document: str) -> None:
    for module in re.findall(r"python3? -m ([\w.]+)", text(document)):
        path = ROOT.joinpath(*module.split("."))
        assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), module
    for command in re.findall(r"python dev\.py (\w+)", text(document)):
        assert f"\npython dev.py {command} " in str(dev.__doc__), command


def test_the_readme_has_every_method_with_its_file_and_size() -> None:
    readme = text("README.md")
    for method in RELEASED:
        size = method.weights.size
        shown = f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"
        label = method.label.partition(" (need batch size")[0]
        row = next(line for line in readme.splitlines() if line.startswith(f"| {label} |"))
        assert row.endswith(f"| `{method.weights.name}` ({shown}) |")


def test_every_setting_is_described() -> None:
    rows = re.findall(r"^\| .+ \| `(\w+)` \| .+ \|$", text("docs/settings.md"), re.M)
    assert rows == [option.key for option in OPTIONS]


def defined_names() -> set[str]:
    """Dotted names in the package: `files.store`, `files.store.WeightStore` and the like."""
    found = set()
    for path in PACKAGE.rglob("*.py"):
        module = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        found.add(module)
        for node in ast.parse(path.read_text("utf-8")).body:
            targets = [node.target] if isinstance(node, ast.AnnAssign) else getattr(node, "targets", [])
            found |= {f"{module}.{target.id}" for target in targets if isinstance(target, ast.Name)}
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                found.add(f"{module}.{node.name}")
            if isinstance(node, ast.ClassDef):
                methods = [inner.name for inner in node.body if isinstance(inner, ast.FunctionDef)]
                found |= {f"{module}.{node.name}.{name}" for name in methods}
    return found


def test_names_of_code_in_the_quirks_exist() -> None:
    wings = "|".join(
        path.name for path in PACKAGE.iterdir() if path.is_dir() and not path.name.startswith("_")
    )
    named = re.findall(rf"`((?:{wings})\.[\w.]+)`", text("docs/quirks.md"))
    assert len(named) > 3
    assert set(named) - defined_names() == set()


@pytest.mark.parametrize("document", ["docs/architecture.md", "CONTRIBUTING.md", "miniature/README.md"])
def test_paths_that_a_document_names_exist(document: str) -> None:
    named = re.findall(r"`([\w.-]+(?:/[\w.-]+)*(?:\.py|\.md|/))`", text(document))
    assert len(named) > 3
    places = (ROOT, PACKAGE, (ROOT / document).parent)
    assert [name for name in named if not any((place / name).exists() for place in places)] == []


def test_names_of_code_in_the_architecture_exist() -> None:
    known = {name.rpartition(".")[2] for name in defined_names()}
    # capitals make a class or a constant of it; a word with an underscore is a function, a hook or a module
    named = set(
        re.findall(r"`([A-Z]\w+|[a-z]+_\w+|prepare|process|deliver|finish)`", text("docs/architecture.md"))
    )
    assert len(named) > 10
    assert named - known == set()


def test_documents_that_the_code_names_exist() -> None:
    folders = (PACKAGE, *(ROOT / name for name in ("scripts", "miniature", "benchmarks", "tests")))
    sources = [ROOT / "dev.py", *(path for folder in folders for path in folder.rglob("*.py"))]
    named = {
        name
        for path in sources
        for name in re.findall(r"(?<![\w/.*])((?:[a-z_]+/)*[\w-]+\.md)\b", path.read_text("utf-8"))
    }
    assert len(named) > 5
    assert {
        name for name in named if not any((place / name).exists() for place in (ROOT, ROOT / "docs"))
    } == set()
