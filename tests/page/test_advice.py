"""What the panel says before Generate, and how a checkpoint's family is told without loading it."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from lib_layerdiffusion.files import checkpoints
from lib_layerdiffusion.methods import DEFAULT_METHOD, METHODS, SD15, SDXL, Layer
from lib_layerdiffusion.page.advice import Checkpoint, sentences

SDXL_MODEL, SD15_MODEL = Checkpoint("sdxl", "big (SDXL)"), Checkpoint("sd15", "small (SD1.5)")
TWO_PICTURES = [method for method in METHODS if len(method.pictures) == 2]


JUDGED = [method for method in METHODS if not method.family.experimental]


@pytest.mark.parametrize("method", JUDGED, ids=lambda m: m.weights.name)
def test_nothing_is_said_where_nothing_is_missing(method: Any) -> None:
    checkpoint = SDXL_MODEL if method.family is SDXL else SD15_MODEL
    assert sentences(method, method.pictures, "Euler a", checkpoint) == []
    assert sentences(method, method.pictures, "UniPC", None) == []


def test_what_is_experimental_says_so_and_names_the_licence_before_anything_is_fetched() -> None:
    (method,) = (method for method in METHODS if method.family.experimental)
    checkpoint = Checkpoint(method.family.key, "a model")
    assert ["experimental" in one for one in sentences(method, (), "Euler a", checkpoint)] == [True]
    *_, last = sentences(method, (), "Euler a", checkpoint, method.files)
    assert "691 MB" in last
    assert "localai0301/Anima-RGBA" in last
    assert "CircleStone Labs Non-Commercial License" in last
    assert len(sentences(DEFAULT_METHOD, (), "Euler a", None, DEFAULT_METHOD.files)) == 0


@pytest.mark.parametrize("method", JUDGED, ids=lambda m: m.weights.name)
def test_every_missing_picture_is_named(method: Any) -> None:
    said = sentences(method, (), "Euler a")
    assert len(said) == bool(method.pictures)
    for layer in Layer:
        assert (layer.value in "".join(said)) is (layer in method.pictures)
    for layer in method.pictures:
        (left,) = sentences(method, [layer], "Euler a") or [""]
        assert layer.value not in left


def test_sentences_in_full() -> None:
    method = TWO_PICTURES[0]
    assert sentences(method, (), "DPM++ 2M SDE", SD15_MODEL) == [
        "This method needs an SDXL checkpoint, but small (SD1.5) is selected. Select an SDXL checkpoint or "
        "an SD1.5 method.",
        "This method still needs a foreground and a blended picture.",
        "DPM++ samplers are known to give artefacts with this method; Euler a and UniPC work.",
    ]


def test_a_checkpoint_without_methods() -> None:
    (said,) = sentences(DEFAULT_METHOD, (), "", Checkpoint("", "flux-dev"))
    assert said == (
        "This method needs an SDXL checkpoint, but flux-dev is selected. Select an SDXL checkpoint first."
    )
    sd15 = next(method for method in METHODS if method.family is SD15)
    assert "or an SDXL method" in sentences(sd15, sd15.pictures, "", SDXL_MODEL)[0]


@pytest.mark.parametrize("method", JUDGED, ids=lambda m: m.weights.name)
@pytest.mark.parametrize("sampler", ["DPM++ 2M", "DPM++ 3M SDE", "", "Euler a", "UniPC", "DPM2"])
def test_samplers(method: Any, sampler: str) -> None:
    said = sentences(method, method.pictures, sampler)
    warned = method in TWO_PICTURES and (sampler.startswith("DPM++") or not sampler)
    assert bool(said) is warned


def checkpoint(path: Path, tensors: dict[str, list[int]]) -> Path:
    header = {
        name: {"dtype": "F16", "shape": shape, "data_offsets": [0, 0]} for name, shape in tensors.items()
    }
    text = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text)
    return path


UNET = "model.diffusion_model."
ATTENTION = "1.transformer_blocks.0.attn2.to_k.weight"


@pytest.mark.parametrize(
    ("tensors", "family"),
    [
        ({f"{UNET}input_blocks.4.{ATTENTION}": [640, 2048]}, "sdxl"),
        ({f"{UNET}input_blocks.1.{ATTENTION}": [320, 768]}, "sd15"),
        ({f"{UNET}input_blocks.1.{ATTENTION}": [320, 1024]}, ""),
        ({f"{UNET}input_blocks.4.{ATTENTION}": [768, 1280]}, ""),
        ({f"{UNET}double_blocks.0.img_attn.qkv.weight": [9216, 3072]}, ""),
        ({f"{UNET}input_blocks.4.{ATTENTION}": [640, 1, 9]}, None),
        ({"lora_unet_down": [4, 4]}, None),
        ({}, None),
    ],
    ids=["SDXL", "SD1.5", "SD2", "SDXL refiner", "Flux", "packed", "no model", "empty"],
)
def test_family_is_told_by_the_header(
    tmp_path: Path, tensors: dict[str, list[int]], family: str | None
) -> None:
    assert checkpoints.family(checkpoint(tmp_path / "model.safetensors", tensors)) == family


@pytest.mark.parametrize("content", [b"", b"\x80\x02}q\x00.", b"GGUF" + b"\xff" * 60])
def test_other_files_have_no_family(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.ckpt"
    path.write_bytes(content)
    assert checkpoints.family(path) is None
    assert checkpoints.family(tmp_path / "missing") is None


def test_a_replaced_file_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    checkpoint(path, {f"{UNET}input_blocks.4.{ATTENTION}": [640, 2048]})
    assert checkpoints.family(path) == "sdxl"
    checkpoint(path, {f"{UNET}input_blocks.1.{ATTENTION}": [320, 768]})
    assert checkpoints.family(path) == "sd15"
