"""What preparing the UNet costs a generation: reading the layer file and merging it, or seeing it is there.

    python -m benchmarks.patching [--width 128] [--rounds 5] [--device cpu] [--dtype float32]

The UNet has SDXL's layout and depth and random weights; --width 320 is its real size. The plain procedure
reads the file into memory, takes the merged weights back and merges them, in every generation. Ours reads a
tensor when it is merged, and names what it hands to the host so that the host sees when nothing has changed.
Where Weight or the method changes the host has to merge: that alone, with the tensors in memory, is what ours
is compared with then.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import load

from benchmarks import big_layers
from benchmarks.report import Peak, Report, parse, parser, peak_memory, seconds, status
from lib_layerdiffusion.files import layer_patch
from lib_layerdiffusion.files.tensors import state_dict
from lib_layerdiffusion.methods import FOLDER, METHODS, SDXL, Method
from lib_layerdiffusion.networks import Networks
from miniature.webui.host import MiniatureHost
from miniature.webui.patcher import Patcher, SharedNetwork

ATTENTION, CONDITION = (
    next(method for method in METHODS if method.family is SDXL and len(method.pictures) == pictures)
    for pictures in (0, 1)
)


class Bench:
    """One host with two layer files, whose file cache is warm."""

    def __init__(self, folder: Path, width: int, device: str, dtype: torch.dtype) -> None:
        files = {ATTENTION: big_layers.attention_file(width), CONDITION: big_layers.condition_file(width)}
        self.paths = {
            method: big_layers.write(folder / FOLDER, method.weights.name, tensors)
            for method, tensors in files.items()
        }
        self.host = MiniatureHost(folder)
        self.networks = Networks(self.host)
        self.shared = SharedNetwork(big_layers.unet(width, device, dtype))
        for method in files:
            self.networks.layer_file(method)

    def ours(self, method: Method, weight: float) -> None:
        """What a generation does before its first step."""
        file = self.networks.layer_file(method)
        layer_patch.check(
            file.shapes,
            self.shared.shapes(),
            conditions=len(method.pictures),
            filename=file.filename,
            base="the benchmark",
        )
        patcher = Patcher(self.shared)
        self.host.patch_weights(patcher, file.identity, file.patches, weight)
        self.shared.merge(patcher)

    def plain(self, method: Method, weight: float) -> None:
        """Read, take back, merge."""
        patches = layer_patch.parse(load(self.paths[method].read_bytes()))
        self.shared.merge(Patcher(self.shared))
        self.shared.merge(Patcher(self.shared, [("read anew", weight, patches)]))

    def host_alone(self, method: Method, weight: float) -> Callable[[], None]:
        """The host's own part of a change, with the patches at hand."""
        patches = layer_patch.parse(state_dict(self.paths[method]))
        patcher = Patcher(self.shared, [("at hand", weight, patches)])
        return lambda: self.shared.merge(patcher)


def compare(
    report: Report,
    bench: Bench,
    what: str,
    before: tuple[Method, float],
    job: tuple[Method, float],
    plain: Callable[[], Callable[[], None]],
    rounds: int,
) -> None:
    """Time a generation after the one `before`, by ours and by what `plain` makes, in turn."""
    times: dict[str, list[float]] = {"ours": [], "plain": []}
    written: dict[str, float] = {}
    peaks: dict[str, Peak] = {}
    for number in range(-1, rounds):
        for name in times if number % 2 else reversed(times):
            bench.ours(*before)
            run = (lambda: bench.ours(*job)) if name == "ours" else plain()
            bytes_before = bench.shared.merged_bytes
            with peak_memory(report.device) as peaks[name]:
                taken = seconds(run, report.device)
            written[name] = (bench.shared.merged_bytes - bytes_before) / 1e6
            if number >= 0:
                times[name].append(taken)
    report.compare(
        what,
        times["ours"],
        times["plain"],
        peaks["ours"],
        peaks["plain"],
        ours_merged_mb=written["ours"],
        plain_merged_mb=written["plain"],
    )


@torch.inference_mode()
def main() -> None:
    made = parser(__doc__, rounds=5)
    made.add_argument("--width", type=int, default=128, help="channels at the finest level, 320 in SDXL")
    made.add_argument("--dtype", default="float32")
    chosen = parse(made)
    report = Report("patching", chosen.device, {"width": chosen.width, "dtype": chosen.dtype})
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), chosen.width, chosen.device, getattr(torch, chosen.dtype))
        report.figure(
            "layer files",
            attention_mb=bench.paths[ATTENTION].stat().st_size / 1e6,
            condition_mb=bench.paths[CONDITION].stat().st_size / 1e6,
        )
        again, weaker, other = (ATTENTION, 1.0), (ATTENTION, 0.7), (CONDITION, 1.0)
        compare(
            report, bench, "the same again", again, again, lambda: lambda: bench.plain(*again), chosen.rounds
        )
        for what, job in (("another Weight", weaker), ("another method", other)):
            alone = partial(bench.host_alone, *job)
            compare(report, bench, f"{what}, against the host's merge", again, job, alone, chosen.rounds)
        bench.ours(*again)
        try:
            resident = status("RssAnon")
            opened = Networks(bench.host)
            taken = seconds(lambda: opened.layer_file(ATTENTION))
            report.figure("opening a file", seconds=taken, private_mb=status("RssAnon") - resident)
        except OSError:
            pass
    report.write(chosen.json)


if __name__ == "__main__":
    main()
