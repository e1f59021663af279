"""The arithmetic of a step with attention sharing: that of plain samples, and the part across frames once."""

from __future__ import annotations

from contextlib import ExitStack
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.joint_step import MergingAtEveryCall, build
from lib_layerdiffusion.job.scene_attention import SharedAttention
from lib_layerdiffusion.models.attention_sharing import UNIT_MODULES, SharingUnit
from miniature.nets.unet import SD15_MINIATURE


@cache
def steps_of(frames: int) -> Steps:
    return Steps(frames)


class Steps:
    """A miniature UNet of SD1.5's layout with a sharing network for `frames` layers."""

    def __init__(self, frames: int) -> None:
        self.frames = frames
        self.unet, self.network = build(SD15_MINIATURE, 8, frames, "cpu", torch.float32)
        self.modules = [self.unet.get_submodule(name) for name in UNIT_MODULES]
        torch.manual_seed(1)
        with torch.no_grad():
            for parameter in self.network.parameters():
                if parameter.ndim == 1:
                    parameter.normal_(0.5, 0.5)
        self.arguments = (
            torch.randn(frames, 4, 16, 16),
            torch.full((frames,), 500.0),
            torch.randn(frames, 77, SD15_MINIATURE.context_dim),
        )

    @torch.inference_mode()
    def run(self, shared: SharedAttention | None = None) -> tuple[Tensor, int]:
        """Return what the UNet predicts, and the arithmetic of its products."""
        with ExitStack() as stack:
            if shared is not None:
                stack.enter_context(shared.active(self.modules, [0], self.frames))
            counter = stack.enter_context(FlopCounterMode(display=False))
            result: Tensor = self.unet(*self.arguments)
        return result, counter.get_total_flops()

    def sharing(self) -> SharedAttention:
        return SharedAttention(self.network, 1.0, [], None, {})

    def across_frames(self) -> int:
        """What the part across frames takes: q, k and v of all tokens, their attention, one more product."""
        total = 0

        def count(unit: Any, given: tuple[Any, ...]) -> None:
            nonlocal total
            rows, tokens, hidden = given[0].shape
            products = 1 if self.frames == 1 else 3 + 1
            attention = 0 if self.frames == 1 else 2 * self.frames * hidden
            total += 2 * rows * tokens * (products * hidden * hidden + attention)

        hooks = [unit.register_forward_pre_hook(count) for unit in self.network.units]
        self.run(self.sharing())
        for hook in hooks:
            hook.remove()
        return total


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_a_step_computes_nothing_twice(frames: int) -> None:
    steps = steps_of(frames)
    shared = steps.sharing()
    first, second, third = (steps.run(shared)[1] for _ in range(3))
    assert first > second
    assert second == third == steps.run()[1] + steps.across_frames()


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_what_is_multiplied_out_gives_what_the_files_layers_give(
    frames: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = steps_of(frames)
    shared = steps.sharing()
    steps.run(shared)
    ours, _ = steps.run(shared)
    for unit in steps.network.units:
        monkeypatch.setattr(unit, "__class__", MergingAtEveryCall)
    plain, _ = steps.run(steps.sharing())
    assert not torch.equal(plain, steps.run()[0])
    torch.testing.assert_close(ours, plain, rtol=0, atol=1e-5 * float(plain.abs().max()))


def test_room_is_kept_for_all_that_is_merged() -> None:
    """As many values as hosts are asked to keep free for it."""
    for frames in (1, 3):
        steps = steps_of(frames)
        attentions: list[Any] = steps.modules
        like = torch.zeros(1)
        values = 0
        for unit, attention in zip(steps.network.units, attentions, strict=True):
            merged = SharingUnit.merge(unit, attention, like, 1.0)
            values += merged.across.weight.numel()
            values += sum(p.q.numel() + p.k.numel() + p.v.numel() + p.out.numel() for p in merged.frames)
        assert steps.network.merged_values() == values
