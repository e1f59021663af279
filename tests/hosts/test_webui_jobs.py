"""What each host's jobs say about the checkpoints that they will go on with, and what is left on a model."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.helpers.stub_hosts import Stubbed

WIDTHS = {"xl": 2048, "old": 768, "refiner": 1280}


@pytest.fixture
def checkpoints(stubbed: Stubbed, tmp_path: Path) -> dict[str, Any]:
    """Files of three kinds, as the host's list of checkpoints names them."""
    found = {}
    for name, width in WIDTHS.items():
        key = "model.diffusion_model.input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight"
        header = json.dumps({key: {"dtype": "F16", "shape": [4, width], "data_offsets": [0, 0]}}).encode()
        path = tmp_path / f"{name}.safetensors"
        path.write_bytes(struct.pack("<Q", len(header)) + header)
        found[name] = SimpleNamespace(filename=str(path), name_for_extra=name)
    found["packed"] = SimpleNamespace(filename=str(tmp_path / "a.gguf"), name_for_extra="packed")
    stubbed.modules["modules.sd_models"].get_closet_checkpoint_match = found.get
    return found


def told(stubbed: Stubbed, **settings: Any) -> dict[str, str]:
    p = stubbed.job()
    vars(p).update(settings)
    return {role: base.family for role, base in stubbed.adapter.later_models(p).items()}


def test_a_refiner_is_told_before_it_is_loaded(stubbed: Stubbed, checkpoints: dict[str, Any]) -> None:
    assert told(stubbed) == {}
    # hosts that know no refiner for this job
    assert told(stubbed, refiner_checkpoint_info=None, refiner_switch_at=0.8) == {}
    for name, family in (("xl", "sdxl"), ("old", "sd15"), ("refiner", "")):
        for switch in (0.8, None):
            found = told(stubbed, refiner_checkpoint_info=checkpoints[name], refiner_switch_at=switch)
            assert found == {"refiner": family}
    # one that cannot be told is looked at when it is loaded
    assert told(stubbed, refiner_checkpoint_info=checkpoints["packed"], refiner_switch_at=0.8) == {}


def test_a_refiner_that_is_never_switched_to_does_not_count(
    stubbed: Stubbed, checkpoints: dict[str, Any]
) -> None:
    """In Forge Neo the number is a noise level, and levels above 1 come first."""
    found = told(stubbed, refiner_checkpoint_info=checkpoints["old"], refiner_switch_at=1.0)
    assert found == ({"refiner": "sd15"} if stubbed.key == "neo" else {})


def test_the_checkpoint_of_the_highres_pass_is_told(stubbed: Stubbed, checkpoints: dict[str, Any]) -> None:
    for name in ("Use same checkpoint", "", None, "gone"):
        assert told(stubbed, enable_hr=True, hr_checkpoint_name=name) == {}
    assert told(stubbed, enable_hr=False, hr_checkpoint_name="old") == {}
    assert told(stubbed, enable_hr=True, hr_checkpoint_name="old") == {"checkpoint for hires fix": "sd15"}


def test_a_patcher_is_known_by_the_name_of_its_mark(stubbed: Stubbed) -> None:
    adapter, unet = stubbed.adapter, stubbed.unet()
    assert adapter.mark_of(unet) is None
    adapter.mark(unet, "first")
    assert adapter.mark_of(unet) == "first"
    p = stubbed.job(unet)
    as_loaded = stubbed.unet()
    p.sd_model.forge_objects_after_applying_lora = SimpleNamespace(unet=as_loaded)
    assert adapter.unet_without_scripts(p) is as_loaded
