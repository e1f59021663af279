"""Time and memory of one transparent decode against the plain procedure.

    python -m benchmarks.decode [--size 1024] [--passes 8] [--rounds 5] [--device cpu] [--dtype float32]
                                [--at-once 1] [--tuned] [--low-memory]

In every round both decode the same picture with the same random weights, in turn. Besides the ratio it prints
the peak of the memory beyond the network, how far the results differ in 8-bit levels, and how much of the
device's rate for a large matrix product the decode reaches, counted in the plain procedure's arithmetic.
`--tuned` tries the forms that are used on CPUs on the device as well; `--low-memory`
measures the way that is used with the setting of that name.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import plain_decode, report
from lib_layerdiffusion.models import blocks
from lib_layerdiffusion.models.encoder_and_decoder import TransparencyDecoder
from lib_layerdiffusion.pictures.arithmetic import FloatImage, Uint8Image
from lib_layerdiffusion.transparency.voting import Votes
from lib_layerdiffusion.transparency.ways import ways

MATRIX = 4096


def random_decoder(device: str, dtype: torch.dtype, seed: int = 0) -> TransparencyDecoder:
    """Return the released architecture with random weights that keep activations of order one."""
    torch.manual_seed(seed)
    network = TransparencyDecoder().eval().requires_grad_(False)
    network.conv_out.weight.mul_(0.3)
    torch.nn.init.constant_(network.conv_out.bias, 0.5)  # type: ignore[arg-type]
    return network.to(device, dtype)


def subject(side: int) -> tuple[Uint8Image, Tensor]:
    """Return a smooth random picture with sharp edges and a latent.

    uint8 [side, side, 3] and float32 [4, side/8, side/8].
    """
    generator = torch.Generator().manual_seed(1)
    coarse = torch.rand(1, 3, 16, 16, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, size=(side, side), mode="bicubic")[0].clamp(0, 1)
    smooth[:, side // 4 : side // 2, side // 4 : side // 2] = torch.rand(3, 1, 1, generator=generator)
    picture = (smooth * 255).to(torch.uint8).permute(1, 2, 0).numpy()
    return np.ascontiguousarray(picture), torch.randn(4, side // 8, side // 8, generator=generator)


def arithmetic(side: int) -> float:
    """Return the floating point operations of one plain forward pass, multiplications and additions."""
    with torch.device("meta"):
        network = TransparencyDecoder()
        pixel, latent = torch.empty(1, 3, side, side), torch.empty(1, 4, side // 8, side // 8)
        with FlopCounterMode(display=False) as counter, torch.inference_mode():
            plain_decode.forward(network, pixel, latent)
    return float(counter.get_total_flops())


def matrix_rate(device: str, dtype: torch.dtype) -> float:
    """Return the operations per second of a product of large matrices, the median of five."""
    one, other = (torch.randn(MATRIX, MATRIX, device=device, dtype=dtype) for _ in range(2))
    torch.mm(one, other)
    times = [report.seconds(lambda: torch.mm(one, other), device) for _ in range(5)]
    return 2 * MATRIX**3 / statistics.median(times)


def levels(ours: FloatImage, plain: FloatImage) -> dict[str, Any]:
    """Say how far two pictures in [0, 1] differ, in levels of 1/255."""
    difference = np.abs(ours.astype(np.float64) - plain) * 255
    return {
        "within_one_level": float((difference.max(axis=-1) <= 1).mean()),
        "largest_levels": float(difference.max()),
    }


@torch.inference_mode()
def main() -> None:
    parser = report.parser(__doc__, rounds=5)
    parser.add_argument("--size", type=int, default=1024, help="side of the picture in pixels")
    parser.add_argument("--passes", type=int, default=8, choices=(8, 4, 2, 1))
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--at-once", type=int, default=1, help="passes in one batch")
    parser.add_argument("--tuned", action="store_true")
    parser.add_argument("--low-memory", action="store_true")
    options = report.parse(parser)
    device, dtype = options.device, getattr(torch, options.dtype)
    if options.tuned:
        blocks.TUNED.add(torch.device(device).type)
    network, plain_network = random_decoder(device, dtype), random_decoder("cpu", dtype)
    picture, latent = subject(options.size)
    pixel = torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255
    votes = Votes(options.passes, at_once=options.at_once)
    way = ways(torch.device(device), options.size, options.size, votes, options.low_memory)[0]

    def ours() -> FloatImage:
        return way.decode(network, latent, picture)

    def plain() -> FloatImage:
        decoded = plain_decode.decode(plain_network, pixel, latent[None], device, options.passes)
        return decoded[[1, 2, 3, 0]].permute(1, 2, 0).numpy()

    def measured(run: Callable[[], FloatImage]) -> tuple[FloatImage, report.Peak]:
        with report.peak_memory(device) as peak:
            return run(), peak

    told = {name: getattr(options, name) for name in ("size", "passes", "dtype", "at_once", "low_memory")}
    table = report.Report("decode", device, {**told, "tuned": sorted(blocks.TUNED)})
    (result, peak), (expected, plain_peak) = measured(ours), measured(plain)
    # of two or four passes, the plain procedure has no choice of its own
    difference = levels(result, expected) if options.passes in (8, 1) else {}
    times = report.paired(options.rounds, {"ours": ours, "plain": plain}, device, warm_up=0)
    operations, rate = options.passes * arithmetic(options.size), matrix_rate(device, dtype)
    table.compare(
        f"{options.passes} passes at {options.size} x {options.size}",
        times["ours"],
        times["plain"],
        peak,
        plain_peak,
        **difference,
        tera_per_second=operations / statistics.median(times["ours"]) / 1e12,
        plain_tera_per_second=operations / statistics.median(times["plain"]) / 1e12,
        matrix_tera_per_second=rate / 1e12,
    )
    table.write(options.json)


if __name__ == "__main__":
    main()
