"""What Stop At costs a generation, against taking the merged weights back and merging them again.

    python -m benchmarks.stop_at [--width 128] [--steps 4] [--rounds 5] [--device cpu] [--dtype float32]

The UNet has SDXL's layout and depth and random weights; --width 320 is its real size. In every round one
generation each: ours, with the layers' own weights swapped in for each call below the level; the plain
procedure, which has the host load the unpatched model there, so that the next generation merges anew; and one
without Stop At, which is what the two are measured from. All start as the generation before left the model.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks import big_layers
from benchmarks.report import Peak, Report, parse, parser, peak_memory, seconds
from lib_layerdiffusion.files import layer_patch
from lib_layerdiffusion.hosts.own_weights import OwnWeights
from miniature.nets.sampling import sample_euler
from miniature.nets.schedule import NoiseSchedule
from miniature.webui.patcher import Patcher, SharedNetwork, StepRule


@torch.inference_mode()
def evaluate_restoring(
    patcher: Patcher,
    x: Tensor,
    sigma: Tensor,
    timestep: Tensor,
    context: Tensor,
    vector: Tensor,
    cond_or_uncond: list[int],
) -> Tensor:
    """The plain procedure: below the level, the host loads the unpatched model."""
    rule, active = patcher.rule, patcher
    if rule is not None:
        rule.seen()
        if float(sigma.max()) < rule.sigma_end:
            active = rule.original
        elif rule.concat is not None:
            x = torch.cat([x, rule.concat.expand(len(x), -1, -1, -1)], dim=1)
    active.shared.merge(active)
    noise: Tensor = active.shared.network(x, timestep, context, vector)
    return noise


def sampled(patcher: Patcher, evaluate: Callable[..., Tensor], start: Tensor, steps: int) -> Tensor:
    """Latents of an Euler sampling of one picture without a negative prompt."""
    schedule = NoiseSchedule()
    like = next(patcher.shared.network.parameters())
    context, vector = like.new_zeros(1, 77, 2048), like.new_zeros(1, 2816)

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        inner = schedule.network_input(x, sigma).to(like.dtype)
        noise = evaluate(patcher, inner, sigma, schedule.timestep(sigma), context, vector, [0])
        return schedule.denoised(x, sigma, noise.float())

    sigmas = schedule.sampling_sigmas(steps).to(start.device)
    return sample_euler(denoise, start * sigmas[0], sigmas)


def main() -> None:
    made = parser(__doc__, rounds=5)
    made.add_argument("--width", type=int, default=128, help="channels at the finest level, 320 in SDXL")
    made.add_argument("--steps", type=int, default=4)
    made.add_argument("--dtype", default="float32")
    chosen = parse(made)
    settings = {"width": chosen.width, "steps": chosen.steps, "dtype": chosen.dtype}
    report = Report("stop_at", chosen.device, settings)
    network = big_layers.unet(chosen.width, chosen.device, getattr(torch, chosen.dtype))
    shared = SharedNetwork(network)
    start = torch.randn(1, 4, 16, 16, device=chosen.device)
    for what, tensors, concat in (
        ("attention file", big_layers.attention_file(chosen.width), None),
        ("condition file", big_layers.condition_file(chosen.width), torch.randn_like(start)),
    ):
        patches = layer_patch.parse({name: tensor.to(chosen.device) for name, tensor in tensors.items()})
        compare(report, what, shared, patches, concat, start, chosen.steps, chosen.rounds)
    report.write(chosen.json)


def compare(
    report: Report,
    what: str,
    shared: SharedNetwork,
    patches: dict[str, layer_patch.Patch],
    concat: Tensor | None,
    start: Tensor,
    steps: int,
    rounds: int,
) -> None:
    """Add the rows of one layer file."""
    original = Patcher(shared)
    dtype = next(shared.network.parameters()).dtype

    def patched(sigma_end: float) -> Patcher:
        patcher = Patcher(shared, [(what, 1.0, patches)])
        patcher.rule = StepRule(original, sigma_end, None if concat is None else concat.to(dtype))
        return patcher

    sigma_end = NoiseSchedule().percent_to_sigma(0.5)
    # by name: who samples, how, and whose weights the generation before left in the model
    ways = {
        "ours": (sigma_end, Patcher.evaluate, patched(0)),
        "plain": (sigma_end, evaluate_restoring, original),
        "without": (0.0, Patcher.evaluate, patched(0)),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    latents: dict[str, Tensor] = {}
    merged: dict[str, int] = {}
    peaks: dict[str, Peak] = {}
    for number in range(-1, rounds):
        for name in ways if number % 2 else reversed(ways):
            level, evaluate, before = ways[name]
            shared.merge(before)
            patcher, bytes_before = patched(level), shared.merged_bytes
            with peak_memory(report.device) as peaks[name]:
                taken = seconds(
                    lambda: latents.__setitem__(name, sampled(patcher, evaluate, start, steps)),  # noqa: B023
                    report.device,
                )
            merged[name] = shared.merged_bytes - bytes_before
            if number >= 0:
                times[name].append(taken)
    lost = {
        name: statistics.median(a - b for a, b in zip(times[name], times["without"], strict=True))
        for name in ("ours", "plain")
    }
    report.compare(
        f"{what}, a generation with Stop At 0.5",
        times["ours"],
        times["plain"],
        peaks["ours"],
        peaks["plain"],
        ours_lost_seconds=lost["ours"],
        plain_lost_seconds=lost["plain"],
        ours_written_mb=merged["ours"] / 1e6,
        plain_written_mb=merged["plain"] / 1e6,
        same_latents=torch.equal(latents["ours"], latents["plain"]),
    )
    shared.merge(patched(0))
    own = shared.own_weights(patched(0), original)
    in_and_out = [seconds(lambda: _swap(own)) for _ in range(20)]
    report.figure(f"{what}, one swap in and out", layers=len(own), seconds=statistics.median(in_and_out))


def _swap(own: OwnWeights) -> None:
    with own.in_place():
        pass


if __name__ == "__main__":
    main()
