"""Tensors of a weight file: read when they are used, and an error in place of a crash where that fails."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from lib_layerdiffusion.errors import WeightsError, WrongWeights
from lib_layerdiffusion.files import tensors
from lib_layerdiffusion.files.layout import tensor_entries
from lib_layerdiffusion.files.tensors import StoredTensor, TensorFile
from lib_layerdiffusion.models.encoder_and_decoder import TransparencyEncoder

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def content() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return {
        "half": torch.randn(4, 6).half(),
        "convolution": torch.randn(3, 4, 3, 3),
        "double": torch.randn(2, 3).double(),
        "brain": torch.randn(7).bfloat16(),
        "eight": torch.randn(5).to(torch.float8_e4m3fn),
        "nothing": torch.zeros(0, 3),
        "number": torch.tensor(2.5),
    }


@pytest.fixture
def path(content: dict[str, Tensor], tmp_path: Path) -> Path:
    file = tmp_path / "some file.safetensors"
    save_file(content, str(file), metadata={"format": "pt"})
    return file


def computable(tensor: Tensor) -> Tensor:
    return tensor.half() if tensor.dtype.itemsize == 1 else tensor


def test_every_format_is_read(path: Path, content: dict[str, Tensor]) -> None:
    read = tensors.state_dict(path)
    assert read.keys() == content.keys()
    for name, tensor in content.items():
        assert read[name].dtype is computable(tensor).dtype
        assert torch.equal(read[name], computable(tensor)), name


OPERATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "to the device": lambda t: t.to("cpu").to(torch.float32),
    "to both": lambda t: t.to("cpu", torch.float32, copy=True, non_blocking=True),
    "float": lambda t: t.float(),
    "type": lambda t: t.type(torch.float64),
    "clone": lambda t: t.clone(),
    "times": lambda t: 0.5 * t,
    "flat product": lambda t: torch.mm(t.flatten(start_dim=1), torch.ones(6, 2).to(t)),
    "transposed": lambda t: t.transpose(0, 1),
    "reshaped": lambda t: t.reshape(3, 8).contiguous(),
    "row": lambda t: t[1],
    "in place": lambda t: torch.zeros(4, 6).add_(t, alpha=2),
    "copied into": lambda t: torch.empty_like(t, dtype=torch.float32, device="cpu").copy_(t),
    "placed": lambda t: torch.zeros(5, 6).narrow(0, 0, 4).copy_(t),
    "detached": lambda t: t.detach(),
    "padded": lambda t: torch.nn.functional.pad(t, (0, 2)),
}
"""What hosts do to a patch's tensors."""


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("made_in", [False, True])
@pytest.mark.parametrize("used_in", [False, True])
def test_a_stand_in_is_the_tensor_in_every_operation(
    path: Path, content: dict[str, Tensor], operation: str, made_in: bool, used_in: bool
) -> None:
    with torch.inference_mode(made_in):
        stored = TensorFile(path).stored()["half"]
    plain, compute = content["half"], OPERATIONS[operation]
    assert (stored.shape, stored.dtype, stored.device, stored.nbytes) == (
        plain.shape,
        plain.dtype,
        plain.device,
        plain.nbytes,
    )
    with torch.inference_mode(used_in):
        result = compute(stored)
        assert type(result) is Tensor
        assert torch.equal(result, compute(plain))


def test_two_stand_ins_in_one_operation(path: Path, content: dict[str, Tensor]) -> None:
    stored = TensorFile(path).stored()
    assert torch.equal(torch.cat([stored["half"], stored["half"]]), torch.cat([content["half"]] * 2))


def test_an_empty_tensor_of_the_same_shape_reads_nothing(path: Path) -> None:
    file = TensorFile(path)
    stored = file.stored()["half"]
    path.unlink()
    assert torch.empty_like(stored, dtype=torch.float32).shape == (4, 6)
    file.check()


def test_a_stand_in_of_a_file_that_is_gone_counts_as_zeros_and_says_so(path: Path) -> None:
    file = TensorFile(path)
    stored = file.stored()
    path.rename(path.with_name("elsewhere"))
    assert not file.failed
    assert torch.equal(stored["half"].float(), torch.zeros(4, 6))
    assert file.failed
    # it is back, but what was merged meanwhile is wrong
    path.with_name("elsewhere").rename(path)
    assert torch.equal(stored["convolution"].float(), torch.zeros(3, 4, 3, 3))
    with pytest.raises(WeightsError, match=r"some file.safetensors in .* is no longer there"):
        file.check()
    TensorFile(path).check()


@pytest.mark.parametrize("size", [0, 10, -1])
def test_a_file_cut_off_in_place_is_an_error(path: Path, size: int) -> None:
    file = TensorFile(path)
    os.truncate(path, size if size >= 0 else path.stat().st_size + size)
    with pytest.raises(WeightsError, match="was changed while it was in use"):
        file.tensor("half")


def test_a_file_that_is_cut_off_behind_a_stale_size_is_an_error(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Network drives tell sizes of a while ago."""
    file = TensorFile(path)
    stat = path.stat()
    os.truncate(path, 200)
    monkeypatch.setattr(os, "fstat", lambda descriptor: stat)
    with pytest.raises(WeightsError, match="was changed while it was in use"):
        file.tensor("convolution")


def test_a_file_that_is_written_while_it_is_read_is_an_error(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = TensorFile(path)
    fstat, calls = os.fstat, []

    def writing(descriptor: int) -> os.stat_result:
        calls.append(1)
        if len(calls) == 2:
            os.utime(path, ns=(1, 1))
        return fstat(descriptor)

    monkeypatch.setattr(os, "fstat", writing)
    with pytest.raises(WeightsError, match="was changed while it was in use"):
        file.tensor("half")


def test_the_process_lives_on_when_a_file_is_cut_off_under_it(path: Path) -> None:
    code = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from lib_layerdiffusion.files import tensors\n"
        "path = Path(sys.argv[1])\n"
        "file, state = tensors.TensorFile(path), tensors.state_dict(path)\n"
        "stored, before = file.stored(), state['convolution'].sum()\n"
        "os.truncate(path, 0)\n"
        "assert state['convolution'].sum() == before\n"
        "stored['convolution'].sum()\n"
        "print('alive', file.failed)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "alive True\n"), done.stderr


def header(text: str, data: bytes = b"") -> bytes:
    encoded = text.encode()
    return len(encoded).to_bytes(8, "little") + encoded + data


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"123", "shorter than a header"),
        (b"\xff" * 8 + b"{}", "header is longer than any"),
        ((50).to_bytes(8, "little") + b"{}", "ends within its header"),
        (header("{" * 20), "no JSON"),
        (header("[" * 5000 + "]" * 5000), "nested too deeply"),
        (header('{"a": ' * 5000 + "1" + "}" * 5000), "nested too deeply"),
        (header("[]"), "no list of tensors"),
        (header('{"x": 1}'), 'does not describe "x"'),
        (header('{"x": {"dtype": "F32", "shape": [1]}}'), 'does not describe "x"'),
        (
            header('{"x": {"dtype": "F32", "shape": [true], "data_offsets": [0, 4]}}', b"1234"),
            "does not desc",
        ),
        (header('{"x": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}', b"1234"), "does not desc"),
        (header('{"x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}', b"1234"), "number of bytes"),
        (header('{"x": {"dtype": "F32", "shape": [0], "data_offsets": [4, 0]}}', b"1234"), "number of bytes"),
        (header('{"x": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}', b"12345678"), "lie apart"),
        (header('{"x": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}', b"12345"), r"has \d+ bytes"),
        (header('{"x": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}', b"123"), r"has \d+ bytes"),
    ],
)
def test_a_header_that_means_nothing_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    file = tmp_path / "x.safetensors"
    file.write_bytes(content)
    with pytest.raises(WrongWeights, match=f"x.safetensors in .* cannot be read .*{reason}"):
        tensor_entries(file)


def test_too_little_memory_is_not_called_another_network(path: Path) -> None:
    def build(state: object) -> None:
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:75] DefaultCPUAllocator: can't allocate memory")

    with pytest.raises(RuntimeError, match="can't allocate memory"):
        tensors.network(path, build)


def test_another_network_is_called_one(path: Path) -> None:
    with pytest.raises(WrongWeights, match="does not hold the network that its name says") as caught:
        tensors.network(path, TransparencyEncoder.from_state_dict)
    assert "Delete it" in str(caught.value) or "delete it" in str(caught.value)


def test_a_stand_in_can_be_shown(path: Path) -> None:
    stored = TensorFile(path).stored()["half"]
    assert isinstance(stored, StoredTensor)
    assert repr(stored) == "StoredTensor('half', [4, 6], torch.float16)"
