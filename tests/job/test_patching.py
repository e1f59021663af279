"""What a job does to the UNet's weights: merged once, taken back never, read from the file once."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks import big_layers, stop_at
from benchmarks.report import status
from lib_layerdiffusion import networks
from lib_layerdiffusion.files import layer_patch, tensors
from lib_layerdiffusion.files.tensors import TensorFile
from lib_layerdiffusion.methods import SD15, Method
from miniature.nets.random_weights import BaseModel
from miniature.nets.schedule import NoiseSchedule
from miniature.nets.unet import UNet
from miniature.webui.host import MiniatureHost
from miniature.webui.patcher import Patcher, SharedNetwork, StepRule
from miniature.webui.processing import Processed, WebUI
from miniature.webui.script import load_script
from tests.helpers.fresh_networks import fresh
from tests.helpers.jobs import CONDITIONED, SDXL_METHODS, arguments, pixels, request

Generate = Callable[..., Processed]
ATTENTION, CONVOLUTIONS = SDXL_METHODS[0], SDXL_METHODS[1]


def test_the_same_again_merges_nothing(webui: WebUI, generate: Generate) -> None:
    shared = webui.original.shared
    first = pixels(generate(arguments(ATTENTION)))
    merges = shared.merges
    assert merges > 0
    for _ in range(2):
        assert (pixels(generate(arguments(ATTENTION), batch_size=1)) == first).all()
    generate(arguments(ATTENTION, ending_step=0.5), enable_hr=True)
    assert shared.merges == merges
    # another weight, another method: only what the host merges itself
    generate(arguments(ATTENTION, weight=0.5))
    assert shared.merges == 2 * merges
    generate(arguments(CONVOLUTIONS))
    generate(arguments(ATTENTION))
    generate(arguments(ATTENTION))
    written = shared.merged_bytes
    generate(arguments(ATTENTION))
    assert shared.merged_bytes == written


@pytest.mark.parametrize("method", [ATTENTION, CONDITIONED[0], CONDITIONED[-1]], ids=lambda m: m.weights.name)
def test_stop_at_gives_the_latents_of_the_plain_procedure(
    generate: Generate, method: Method, monkeypatch: pytest.MonkeyPatch
) -> None:
    args = arguments(method, ending_step=0.5)
    ours = pixels(generate(args, steps=4, batch_size=2))
    monkeypatch.setattr(Patcher, "evaluate", stop_at.evaluate_restoring)
    assert (pixels(generate(args, steps=4, batch_size=2)) == ours).all()


def test_stop_at_takes_nothing_back(webui: WebUI, generate: Generate) -> None:
    shared, method = webui.original.shared, CONDITIONED[0]
    off = pixels(generate())
    weights_before = {name: weight.detach().clone() for name, weight in shared.parameters.items()}
    first = pixels(generate(arguments(method, ending_step=0.5), steps=4))
    merges = shared.merges
    for _ in range(2):
        assert (pixels(generate(arguments(method, ending_step=0.5), steps=4)) == first).all()
    assert shared.merges == merges
    assert (pixels(generate()) == off).all()
    for name, weight in shared.parameters.items():
        assert torch.equal(weight, weights_before[name]), name


def test_what_stop_at_holds_is_freed_with_the_pass(webui: WebUI, generate: Generate) -> None:
    generate(arguments(ATTENTION, ending_step=0.5), steps=4)
    rule = webui.patcher.rule
    assert rule is not None
    assert rule.own is None


def test_a_fault_below_the_level_leaves_the_next_jobs_alone(
    webui: WebUI, generate: Generate, monkeypatch: pytest.MonkeyPatch
) -> None:
    off, args = pixels(generate()), arguments(CONDITIONED[0], ending_step=0.5)
    whole = pixels(generate(args, steps=4))
    calls = []
    forward = UNet.forward

    def failing(self: UNet, *given: Any) -> Any:
        calls.append(1)
        if len(calls) == 4:
            raise RuntimeError("a fault")
        return forward(self, *given)

    monkeypatch.setattr(UNet, "forward", failing)
    with pytest.raises(RuntimeError, match="a fault"):
        generate(args, steps=4)
    assert (pixels(generate(args, steps=4)) == whole).all()
    assert (pixels(generate()) == off).all()


def test_a_sampler_that_goes_back_up_gets_the_patch_back() -> None:
    """As restart samplers do, with a first convolution that is wider above the level."""
    network = big_layers.unet(32, "cpu", torch.float32)
    shared = SharedNetwork(network)
    original, patcher = Patcher(shared), Patcher(shared)
    patcher.patches.append(("file", 1.0, layer_patch.parse(big_layers.condition_file(32))))
    patcher.rule = StepRule(original, 5.0, torch.ones(1, 4, 8, 8))
    schedule = NoiseSchedule()
    rest = torch.zeros(1, 77, 2048), torch.zeros(1, 2816), [0]

    def steps(evaluate: Callable[..., torch.Tensor]) -> list[torch.Tensor]:
        results = []
        for level in (10.0, 1.0, 10.0, 1.0):
            sigma = torch.tensor([level])
            results.append(evaluate(patcher, torch.ones(1, 4, 8, 8), sigma, schedule.timestep(sigma), *rest))
        return results

    ours, plain = steps(Patcher.evaluate), steps(stop_at.evaluate_restoring)
    assert all(torch.equal(a, b) for a, b in zip(ours, plain, strict=True))
    assert torch.equal(ours[0], ours[2])
    assert torch.equal(ours[1], ours[3])
    assert not torch.equal(ours[0], ours[1])


def test_attention_sharing_needs_no_weights_for_stop_at(base15: BaseModel, models_dir: Path) -> None:
    host = MiniatureHost(models_dir, family=SD15.key)
    webui, script = WebUI(fresh(base15)), load_script(lambda: host)
    label = "(SD1.5) Only Generate Transparent Image (Attention Injection)"
    webui.process_images(request(webui, script, arguments(label, ending_step=0.5), steps=4))
    assert webui.original.shared.merges == 0


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the layer files whose patches were made."""
    found: list[str] = []

    class Counted(TensorFile):
        def __init__(self, path: Path) -> None:
            found.append(path.name)
            super().__init__(path)

    monkeypatch.setattr(networks, "TensorFile", Counted)
    return found


def test_the_patches_of_a_layer_file_are_made_once(
    generate: Generate, host: MiniatureHost, opened: list[str]
) -> None:
    name = CONDITIONED[0].weights.filename
    for changes in ({}, {"weight": 0.5}, {"ending_step": 0.5}):
        generate(arguments(CONDITIONED[0], **changes), enable_hr=True)
    assert opened.count(name) == 1
    host.settings["layerdiffuse_keep_networks"] = False
    generate(arguments(CONDITIONED[0]))
    generate(arguments(CONDITIONED[0]))
    assert opened.count(name) == 2


def test_a_replaced_layer_file_is_opened_and_merged_anew(
    models_dir: Path, tmp_path: Path, webui: WebUI, opened: list[str]
) -> None:
    shutil.copytree(models_dir / "layer_model", tmp_path / "layer_model")
    script = load_script(lambda: MiniatureHost(tmp_path))
    path = tmp_path / "layer_model" / ATTENTION.weights.filename

    def picture() -> np.ndarray:
        return pixels(webui.process_images(request(webui, script, arguments(ATTENTION))))

    first = picture()
    merges = webui.original.shared.merges
    doubled = {name: tensor * 2 for name, tensor in tensors.state_dict(path).items()}
    opened.clear()
    stat = path.stat()
    replacement = big_layers.write(tmp_path / "new", ATTENTION.weights.name, doubled)
    replacement.replace(path)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1_000_000_000))
    assert (picture() != first).any()
    assert opened == [path.name]
    assert webui.original.shared.merges == 2 * merges


def test_a_layer_file_is_neither_loaded_nor_mapped(tmp_path: Path) -> None:
    """Its patches take no memory, also after they were used, and no mapping ties the process to the file."""
    if not Path("/proc/self/maps").exists():
        pytest.skip("this system does not tell what is mapped")
    path = big_layers.write(tmp_path, "file", big_layers.attention_file(32))
    before = status("RssAnon")
    file = TensorFile(path)
    kept = file.stored()
    assert sum(tensor.float().numel() for tensor in kept.values()) == file.size / 2
    assert status("RssAnon") - before < file.size / 1e6 / 4
    assert str(path) not in Path("/proc/self/maps").read_text()
