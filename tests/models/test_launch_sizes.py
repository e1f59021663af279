"""How many matrices one batched product has: a GPU refuses more than 65,535 in a launch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from lib_layerdiffusion.models import attention_sharing
from lib_layerdiffusion.models.attention_sharing import HEADS, Merged, Projections, SharingUnit
from lib_layerdiffusion.models.blocks import AttentionBlock
from lib_layerdiffusion.models.encoder_and_decoder import DECODER_WIDTHS
from lib_layerdiffusion.transparency.voting import PASSES

LIMIT = 65_535
HIDDEN, CONTEXT, TEXT = 320, 768, 77


class Launches(TorchDispatchMode):
    """Within the block, `rows` fills with the batch x heads of every batched product and fused attention."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[int] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = function.name()
        if name.startswith(("aten::bmm", "aten::baddbmm", "aten::_scaled_dot_product")):
            operand = args[1] if name.startswith("aten::baddbmm") else args[0]
            rows = 1
            for side in operand.shape[:-2]:
                rows *= side
            self.rows.append(rows)
        return function(*args, **(kwargs or {}))


def unit_and_merged(frames: int, hidden: int, device: str) -> tuple[SharingUnit, Merged]:
    """A unit with random weights, and what it computes with, as `merge` makes it."""
    torch.manual_seed(3)
    with torch.device(device):
        unit = SharingUnit(frames, hidden, CONTEXT, 8, None)
        square, wide, bias = torch.randn(hidden, hidden), torch.randn(hidden, CONTEXT), torch.randn(hidden)
        projections = [Projections(square, wide, wide, square, bias) for _ in range(frames)]
        return unit, Merged(projections, unit._fold(square))


@pytest.mark.parametrize(
    ("side", "scenes"),
    [(1472, 1), (1024, 2), (512, 6), (2048, 4)],
    ids=lambda value: str(value),
)
@pytest.mark.parametrize("frames", [1, 2, 3])
def test_no_launch_of_a_unit_is_larger_than_a_gpu_takes(side: int, scenes: int, frames: int) -> None:
    """Positive and negative prompt in one call, of the layers with most positions."""
    unit, merged = unit_and_merged(frames, HIDDEN, "meta")
    batch, tokens = 2 * scenes, (side // 8) ** 2
    h = torch.empty(batch * frames, tokens, HIDDEN, device="meta")
    text = torch.empty(batch, TEXT, CONTEXT, device="meta")
    with Launches() as launches:
        result = unit(h, merged, [(text, text)] * frames, None, 1.0)
    assert result.shape == h.shape
    assert max(launches.rows) <= LIMIT
    if frames > 1:
        # nothing is left out: queries with keys, and what they weigh
        across = [rows for rows in launches.rows if rows > batch * HEADS]
        assert sum(across) == 2 * batch * tokens * HEADS


def test_no_launch_of_the_transparency_decoder_is_larger() -> None:
    """Its widest attention over the largest level that has one, all passes in one batch."""
    with torch.device("meta"):
        block = AttentionBlock(max(DECODER_WIDTHS))
        x = torch.empty(max(PASSES), max(DECODER_WIDTHS), 128, 128)
    with Launches() as launches:
        block(x)
    assert 0 < max(launches.rows) <= LIMIT


@pytest.mark.parametrize("most", [1, 100, 1000])
def test_the_result_is_the_same_in_parts(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    unit, merged = unit_and_merged(3, 64, "cpu")
    x = torch.randn(2, 3, 49, 64)
    whole: Tensor = unit._across_frames(x, merged.across)
    monkeypatch.setattr(attention_sharing, "MOST_ROWS", most)
    torch.testing.assert_close(unit._across_frames(x, merged.across), whole, rtol=0, atol=0)
