"""Time of one UNet evaluation with layers sharing attention, against plain procedures.

    python -m benchmarks.joint_step [--frames 3] [--size 256] [--rounds 7] [--device cpu] [--dtype float32]

In every round one after the other: ours, the frames with attention sharing; as many plain samples; and the
plain procedure for sharing, which forms each unit's merged weights anew at every call and every product of
the part across frames by itself. The UNet has SD1.5's sizes and random weights. Beside the times is the
arithmetic: what of ours plain samples have not is the part across frames, and nothing else.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.report import Report, paired, parse, parser, peak_memory, seconds
from lib_layerdiffusion.job.scene_attention import SharedAttention
from lib_layerdiffusion.models.attention_sharing import (
    HEADS,
    PROJECTIONS,
    UNIT_MODULES,
    AttentionSharing,
    Folded,
    Merged,
    Projections,
    SharingUnit,
)
from miniature.nets.random_weights import shapes_of, sharing_shapes
from miniature.nets.unet import SD15_MINIATURE, UNet, UNetConfig

SD15 = UNetConfig(
    model_channels=320,
    channel_mult=(1, 2, 4, 4),
    transformer_depth=(1, 1, 1, 0),
    context_dim=768,
    adm_in_channels=None,
    num_head_channels=None,
    use_linear_projection=False,
)


class MergingAtEveryCall(SharingUnit):
    """The plain procedure: weight + up @ down for every projection, each time the attention runs.

    The part across frames is written as the files have it.
    """

    def merge(self, attention: Any, like: Tensor, strength: float) -> Merged:
        return Merged(self.projections(attention), Folded(like, like))

    def _across_frames(self, x: Tensor, folded: Folded) -> Tensor:
        y = self.temporal_i(self.temporal_n(x))
        layers = (self.temporal_q, self.temporal_k, self.temporal_v)
        q, k, v = (rearrange(layer(y), "b f n (h d) -> b n h f d", h=HEADS) for layer in layers)
        scores = (q @ k.transpose(-1, -2)) * q.shape[-1] ** -0.5
        result: Tensor = self.temporal_o(rearrange(scores.softmax(-1) @ v, "b n h f d -> b f n (h d)"))
        return result

    def projections(self, attention: Any) -> list[Projections]:
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


def build(
    config: UNetConfig, rank: int, frames: int, device: str, dtype: torch.dtype
) -> tuple[UNet, AttentionSharing]:
    shapes = shapes_of(lambda: UNet(config))
    with torch.device("meta"):
        unet = UNet(config)
    unet.load_state_dict(random_tensors(shapes, device, dtype), assign=True)
    tensors = random_tensors(sharing_shapes(shapes, frames, False, rank), device, dtype)
    return unet.eval(), AttentionSharing.from_state_dict(tensors, frames, control=False).eval()


def teraflop(run: Callable[[], object]) -> float:
    """Count the arithmetic of products and convolutions, 2 for a multiplication and an addition."""
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops() / 1e12


@torch.inference_mode()
def main() -> None:
    made = parser(__doc__)
    made.add_argument("--frames", type=int, default=3, choices=(1, 2, 3))
    made.add_argument("--size", type=int, default=256, help="side of the picture in pixels")
    made.add_argument("--dtype", default="float32")
    made.add_argument("--miniature", action="store_true", help="a small network, to try the benchmark out")
    chosen = parse(made)
    dtype, side, frames, device = getattr(torch, chosen.dtype), chosen.size // 8, chosen.frames, chosen.device
    settings = {"frames": frames, "size": chosen.size, "dtype": chosen.dtype}
    name = "joint_step" if frames == 3 else f"joint_step_{frames}"
    report = Report(name, device, settings)
    config, rank = (SD15_MINIATURE, 8) if chosen.miniature else (SD15, 256)
    unet, network = build(config, rank, frames, device, dtype)
    modules: list[nn.Module] = [unet.get_submodule(module) for module in UNIT_MODULES]
    x = torch.randn(frames, 4, side, side, device=device, dtype=dtype)
    timesteps = torch.full((frames,), 500.0, device=device)
    context = torch.randn(frames, 77, config.context_dim, device=device, dtype=dtype)

    def plain() -> Tensor:
        result: Tensor = unet(x, timesteps, context)
        return result

    def step(shared: SharedAttention) -> Tensor:
        with shared.active(modules, [0], frames):
            return plain()

    ours = SharedAttention(network, 1.0, [], None, {})
    naive = SharedAttention(network, 1.0, [], None, {})
    naive._merged = Forgetful()

    def at_every_call() -> Tensor:
        for unit in network.units:
            unit.__class__ = MergingAtEveryCall
        try:
            return step(naive)
        finally:
            for unit in network.units:
                unit.__class__ = SharingUnit

    with peak_memory(device) as first_peak:
        first = seconds(lambda: step(ours), device)
    difference = (step(ours) - at_every_call()).abs().max() / plain().abs().max()
    arithmetic = {
        "plain": teraflop(plain),
        "ours": teraflop(lambda: step(ours)),
        "naive": teraflop(at_every_call),
    }
    report.figure(
        "arithmetic in TFLOP",
        plain_samples=arithmetic["plain"],
        ours=arithmetic["ours"],
        merging_at_every_call=arithmetic["naive"],
        ours_by_plain=arithmetic["ours"] / arithmetic["plain"],
    )
    times = paired(
        chosen.rounds, {"ours": lambda: step(ours), "plain": plain, "naive": at_every_call}, device
    )
    median = {name: statistics.median(taken) for name, taken in times.items()}
    report.compare(
        f"ours against {frames} plain samples",
        times["ours"],
        times["plain"],
        ours_gflop_per_second=1000 * arithmetic["ours"] / median["ours"],
        plain_gflop_per_second=1000 * arithmetic["plain"] / median["plain"],
    )
    report.compare(
        "ours against merging at every call", times["ours"], times["naive"], difference=float(difference)
    )
    report.figure("first call, with merging", seconds=first, kept_mb=first_peak.megabytes or 0.0)
    report.write(chosen.json)


if __name__ == "__main__":
    main()
