"""Weight files that are there: used if they hold what they should, else refused with a sentence."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from lib_layerdiffusion.errors import DownloadFailed, WeightsError, WrongWeights
from lib_layerdiffusion.files import download
from lib_layerdiffusion.files.records import WORK_FOLDER
from lib_layerdiffusion.files.store import WeightStore
from lib_layerdiffusion.files.tensors import identity, network, state_dict
from lib_layerdiffusion.methods import FAMILIES, FOLDER, RELEASED, RELEASED_FILES, SDXL, WEIGHT_FILES
from lib_layerdiffusion.models.encoder_and_decoder import TransparencyEncoder
from lib_layerdiffusion.weight_files import Holds, WeightFile

FILE = SDXL.encoder


@pytest.fixture
def store(own_files: Path, monkeypatch: pytest.MonkeyPatch) -> WeightStore:
    """The files of the miniature; none may be fetched."""

    def fetch(file: WeightFile, *others: object) -> None:
        raise DownloadFailed(f"{file.filename} is not to be fetched.")

    monkeypatch.setattr(download, "fetch", fetch)
    return WeightStore(own_files / FOLDER)


def tensors(seed: int = 0) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    return dict(TransparencyEncoder().state_dict())


def place(store: WeightStore, state: dict[str, torch.Tensor], file: WeightFile = FILE) -> Path:
    path = store.path(file)
    path.unlink(missing_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, str(path))
    return path


def test_fourteen_files_and_two() -> None:
    assert len(WEIGHT_FILES) == len({file.name for file in WEIGHT_FILES}) == 16
    assert len(RELEASED_FILES) == 14
    assert {file.holds for file in WEIGHT_FILES} == set(Holds) - {Holds.NOTHING}
    assert [method.weights in WEIGHT_FILES for method in RELEASED] == [True] * 10
    assert all(family.decoder in WEIGHT_FILES and family.encoder in WEIGHT_FILES for family in FAMILIES)


def test_files_that_are_there_are_used(store: WeightStore) -> None:
    for file in WEIGHT_FILES:
        assert store.ensure(file) == store.folder / file.filename


def test_a_missing_file_is_asked_for(store: WeightStore) -> None:
    store.path(FILE).unlink()
    with pytest.raises(DownloadFailed, match="vae_transparent_encoder"):
        store.ensure(FILE)
    store.path(FILE).touch()
    with pytest.raises(DownloadFailed, match="vae_transparent_encoder"):
        store.ensure(FILE)


def test_links_are_followed(store: WeightStore, tmp_path: Path) -> None:
    path = store.path(FILE)
    elsewhere = tmp_path / "other disk" / "encoder v1.safetensors"
    elsewhere.parent.mkdir()
    path.rename(elsewhere)
    path.symlink_to(elsewhere)
    assert store.ensure(FILE) == path
    elsewhere.unlink()
    with pytest.raises(WeightsError, match=r"is a link to .*encoder v1.safetensors, which is not there"):
        store.ensure(FILE)
    assert path.is_symlink()


def test_a_folder_in_the_place_of_a_file(store: WeightStore) -> None:
    store.path(FILE).unlink()
    store.path(FILE).mkdir()
    with pytest.raises(WeightsError, match="is a folder"):
        store.ensure(FILE)


@pytest.mark.parametrize(
    "dtype",
    [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2],
)
def test_conversions_to_every_float_are_used(store: WeightStore, dtype: torch.dtype) -> None:
    state = tensors()
    path = place(store, {name: tensor.to(dtype) for name, tensor in state.items()})
    store.ensure(FILE)
    built = network(path, TransparencyEncoder.from_state_dict)
    for name, value in built.state_dict().items():
        torch.testing.assert_close(value, state[name].to(dtype).float())


def test_eight_bit_patches_come_in_a_format_that_hosts_compute_with(store: WeightStore) -> None:
    file = RELEASED[4].weights
    state = {name: tensor.to(torch.float8_e4m3fn) for name, tensor in load_file(store.path(file)).items()}
    path = place(store, state, file)
    store.ensure(file)
    assert {tensor.dtype for tensor in state_dict(path).values()} == {torch.float16}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda state: state.update({"more.weight": torch.zeros(1)}), "more.weight"),
        (lambda state: state.pop("blocks.4.bias"), "blocks.4.bias"),
        (lambda state: state.update({"blocks.4.bias": torch.zeros(9)}), "size mismatch for blocks.4.bias"),
        (lambda state: state.update({"blocks.4.bias": torch.zeros(64, dtype=torch.int8)}), "stored as I8"),
        (lambda state: state.clear(), "it is empty"),
    ],
    ids=["additional", "missing", "shape", "integers", "empty"],
)
def test_another_layout_is_refused(
    store: WeightStore, change: Callable[[dict[str, torch.Tensor]], object], reason: str
) -> None:
    state = tensors()
    change(state)
    place(store, state)
    with pytest.raises(WrongWeights, match="is not the transparency encoder that it should be") as caught:
        store.ensure(FILE)
    assert reason in str(caught.value)


@pytest.mark.parametrize("file", WEIGHT_FILES, ids=lambda file: file.name)
def test_every_other_released_file_is_refused(store: WeightStore, file: WeightFile) -> None:
    """Where two files have the same layout, no one can tell; the published hash warns."""
    same = {
        frozenset(pair)
        for pair in (
            ("layer_sd15_fg2bg", "layer_sd15_bg2fg"),
            ("vae_transparent_decoder", "layer_sd15_vae_transparent_decoder"),
            ("vae_transparent_encoder", "layer_sd15_vae_transparent_encoder"),
        )
    }
    place_of = store.path(file)
    for other in WEIGHT_FILES:
        both_patches = file.holds is other.holds is Holds.WEIGHT_PATCH
        if file is other or both_patches or frozenset((file.name, other.name)) in same:
            continue
        place_of.unlink()
        os.link(store.path(other), place_of) if store.path(other) != place_of else None
        with pytest.raises(WrongWeights, match=file.name):
            store.ensure(file)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.float8_e5m2])
def test_values_that_are_no_numbers_are_found_before_use(
    store: WeightStore, value: float, dtype: torch.dtype
) -> None:
    state = {name: tensor.to(dtype) for name, tensor in tensors().items()}
    damaged = state["blocks.8.weight"].float()
    damaged[3, 2, 1, 0] = value
    state["blocks.8.weight"] = damaged.to(dtype)
    place(store, state)
    for _ in range(2):
        with pytest.raises(
            WrongWeights, match=r'damaged: "blocks.8.weight" holds values that are not numbers'
        ):
            store.ensure(FILE)


def test_a_file_is_read_whole_once(store: WeightStore, monkeypatch: pytest.MonkeyPatch) -> None:
    path = store.path(FILE)
    store.ensure(FILE)
    inspected: list[str] = []

    def look(path: Path, watch: object) -> str:
        inspected.append(path.name)
        return ""

    monkeypatch.setattr("lib_layerdiffusion.files.records._number_problem", look)
    store.ensure(FILE)
    WeightStore(store.folder).ensure(FILE)
    assert inspected == []
    place(store, tensors(seed=2))
    WeightStore(store.folder).ensure(FILE)
    assert inspected == [path.name]
    os.utime(path, ns=(1, 1))
    store.ensure(FILE)
    WeightStore(store.folder).ensure(FILE)
    assert inspected == [path.name] * 2
    place(store, tensors(seed=3))
    WeightStore(store.folder).ensure(FILE)
    assert inspected == [path.name] * 3


def test_the_hash_of_a_released_size_is_remembered(
    store: WeightStore, caplog: pytest.LogCaptureFixture
) -> None:
    size = store.path(FILE).stat().st_size
    released = WeightFile(FILE.name, FILE.holds, (1, size), "0" * 64)
    store.ensure(released)
    assert caplog.text.count("is not the released file of that name") == 1
    WeightStore(store.folder).ensure(released)
    assert caplog.text.count("is not the released file of that name") == 1
    remembered = json.loads((store.folder / WORK_FOLDER / "checked.json").read_text())
    assert len(remembered[FILE.filename]["sha256"]) == 64


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"x": 1}', b'{"x": {"size": 1}}', b"\xff\0"])
def test_records_that_cannot_be_read_are_made_anew(store: WeightStore, content: bytes) -> None:
    store.ensure(FILE)
    records = store.folder / WORK_FOLDER / "checked.json"
    records.write_bytes(content)
    WeightStore(store.folder).ensure(FILE)
    assert FILE.filename in json.loads(records.read_text())


def test_a_folder_that_nothing_can_be_written_to(store: WeightStore) -> None:
    (store.folder / WORK_FOLDER).write_text("a file where the records would be")
    assert store.ensure(FILE) == store.path(FILE)
    assert store.ensure(FILE) == store.path(FILE)


class Bomb:
    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return (os.mkdir, ("unpickled",))


@pytest.mark.parametrize(
    "content",
    [
        pickle.dumps(Bomb()),
        b"\xff" * 8 + b"{}",
        b"\0" * 8,
        b"\x02\0\0\0\0\0\0\0{}",
        b"PK\x03\x04",
        b"<html></html>",
    ],
    ids=["pickle", "endless header", "zeros", "no tensors", "zip", "page"],
)
def test_other_kinds_of_files_are_refused_and_never_unpickled(
    store: WeightStore, content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store.path(FILE).unlink()
    store.path(FILE).write_bytes(content)
    with pytest.raises(WrongWeights, match=FILE.filename):
        store.ensure(FILE)
    assert not (tmp_path / "unpickled").exists()


@pytest.mark.parametrize("cut", [4, 8, 100, 5000, 2_000_000, -1])
def test_a_file_cut_off_anywhere_is_refused(store: WeightStore, cut: int) -> None:
    path = place(store, tensors())
    content = path.read_bytes()
    path.write_bytes(content[:cut])
    with pytest.raises(WrongWeights, match="cannot be read"):
        store.ensure(FILE)


def test_identity_tells_content(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(b"one")
    first = identity(path)
    assert identity(path) == first
    path.write_bytes(b"other")
    assert identity(path) != first
