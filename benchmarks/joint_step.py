"""Time of one UNet evaluation with three layers sharing attention, against plain procedures.

    python -m benchmarks.joint_step [--size 256] [--rounds 7] [--device cpu] [--dtype float32] [--miniature]

In every round, one after the other: (ours) three frames with attention sharing, (a) three plain samples,
(b) the same arithmetic with each unit's merged weights formed anew at every call. Printed are the medians of
the per-round ratios with their range. The UNet has SD1.5's sizes and random weights.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from lib_layerdiffusion.attention_sharing import SharedAttention
from lib_layerdiffusion.models.attention_sharing import (
    PROJECTIONS,
    UNIT_MODULES,
    AttentionSharing,
    Projections,
    SharingUnit,
)
from miniature.random_weights import shapes_of, sharing_shapes
from miniature.unet import SD15_MINIATURE, UNet, UNetConfig

SD15 = UNetConfig(
    model_channels=320,
    channel_mult=(1, 2, 4, 4),
    transformer_depth=(1, 1, 1, 0),
    context_dim=768,
    adm_in_channels=None,
    num_head_channels=None,
    use_linear_projection=False,
)
FRAMES = 3


class MergingAtEveryCall(SharingUnit):
    """The plain procedure: weight + up @ down for every projection, each time the attention runs."""

    def merge(self, attention: Any, like: Tensor, strength: float) -> list[Projections]:
        layers = {"q": attention.to_q, "k": attention.to_k, "v": attention.to_v, "out": attention.to_out[0]}

        def merged(name: str, frame: int) -> Tensor:
            pair = getattr(self, f"to_{name}_lora")[frame]
            weight: Tensor = layers[name].weight + pair.up.weight @ pair.down.weight
            return weight

        bias = layers["out"].bias
        return [
            Projections(**{name: merged(name, frame) for name in PROJECTIONS}, bias=bias)
            for frame in range(self.frames)
        ]


class Forgetful(dict[int, Any]):
    """Keeps nothing: what would be kept is computed again."""

    def __contains__(self, key: object) -> bool:
        return False


def random_tensors(shapes: dict[str, tuple[int, ...]], device: str, dtype: torch.dtype) -> dict[str, Tensor]:
    def draw(key: str, shape: tuple[int, ...]) -> Tensor:
        if len(shape) == 1:
            return torch.full(shape, float(key.endswith("weight")), device=device, dtype=dtype)
        return torch.randn(shape, device=device, dtype=dtype) * (0.5 / math.prod(shape[1:]) ** 0.5)

    return {key: draw(key, shape) for key, shape in shapes.items()}


def build(config: UNetConfig, rank: int, device: str, dtype: torch.dtype) -> tuple[UNet, AttentionSharing]:
    shapes = shapes_of(lambda: UNet(config))
    with torch.device("meta"):
        unet = UNet(config)
    unet.load_state_dict(random_tensors(shapes, device, dtype), assign=True)
    tensors = random_tensors(sharing_shapes(shapes, FRAMES, False, rank), device, dtype)
    return unet.eval(), AttentionSharing.from_state_dict(tensors, FRAMES, control=False).eval()


def seconds(run: Callable[[], object], device: str) -> float:
    if device != "cpu":
        torch.cuda.synchronize()
    begin = time.perf_counter()
    run()
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter() - begin


def spread(ratios: list[float]) -> str:
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, default=256, help="side of the picture in pixels")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--miniature", action="store_true", help="a small network, to try the benchmark out")
    options = parser.parse_args()
    dtype, side = getattr(torch, options.dtype), options.size // 8
    config, rank = (SD15_MINIATURE, 8) if options.miniature else (SD15, 256)
    unet, network = build(config, rank, options.device, dtype)
    modules: list[nn.Module] = [unet.get_submodule(name) for name in UNIT_MODULES]
    x = torch.randn(FRAMES, 4, side, side, device=options.device, dtype=dtype)
    timesteps = torch.full((FRAMES,), 500.0, device=options.device)
    context = torch.randn(FRAMES, 77, config.context_dim, device=options.device, dtype=dtype)

    def plain() -> Tensor:
        result: Tensor = unet(x, timesteps, context)
        return result

    def step(shared: SharedAttention) -> Tensor:
        with shared.active(modules, [0], FRAMES):
            return plain()

    ours = SharedAttention(network, 1.0, [], None, {})
    naive = SharedAttention(network, 1.0, [], None, {})
    naive._projections = Forgetful()

    def at_every_call() -> Tensor:
        for unit in network.units:
            unit.__class__ = MergingAtEveryCall
        try:
            return step(naive)
        finally:
            for unit in network.units:
                unit.__class__ = SharingUnit

    first = seconds(lambda: step(ours), options.device)
    difference = (step(ours) - at_every_call()).abs().max() / plain().abs().max()
    rows = []
    for _ in range(options.rounds):
        runs = (lambda: step(ours), plain, at_every_call)
        rows.append([seconds(run, options.device) for run in runs])
    to_plain, to_naive = ([row[0] / row[n] for row in rows] for n in (1, 2))
    print(f"ours, first call with merging: {first:.3f} s; then {statistics.median(r[0] for r in rows):.3f} s")
    print(f"ours / three plain samples: {spread(to_plain)}")
    print(f"ours / merging at every call: {spread(to_naive)}")
    print(f"largest difference of the two, relative: {float(difference):.1e}")


if __name__ == "__main__":
    main()
