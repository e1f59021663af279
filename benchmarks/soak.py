"""Memory, open files and leftovers over many generations in one process: methods, families and faults mixed.

    python -m benchmarks.soak [--count 200] [--figure docs/soak.svg] [--json soak.json]

Every tenth job is printed. It runs the extension's script in the miniature WebUI on the CPU.
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from lib_layerdiffusion.errors import LayerDiffuseError
from lib_layerdiffusion.methods import KEEP, RELEASED, SD15, SDXL, Method
from lib_layerdiffusion.request.settings import SHORT
from lib_layerdiffusion.transparency import ways
from miniature.nets.random_weights import base_state_dict, layer_files, load_base
from miniature.nets.unet import SD15_MINIATURE
from miniature.webui.checkpoints import Checkpoint
from miniature.webui.host import MiniatureHost
from miniature.webui.processing import Processing, WebUI
from miniature.webui.script import load_script

PAINTER = "another checkpoint"


@dataclass(frozen=True)
class Sample:
    """After a job: resident memory in MB, open files, tensors alive, their MB, what is left in the UNets."""

    job: int
    name: str
    resident: float
    files: int
    tensors: int
    tensor_megabytes: float
    patches: int
    forwards: int


def resident_megabytes() -> float:
    """Return the memory of this process in MB, 0 where the system does not tell."""
    try:
        fields = dict(
            line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line
        )
        return int(fields["VmRSS"].split()[0]) / 1024
    except (OSError, KeyError):
        return 0.0


def open_files() -> int:
    """Return how many files this process has open, 0 where the system does not tell."""
    folder = Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.is_dir() else 0


def alive() -> tuple[int, float]:
    """Return how many tensors Python knows of and their MB."""
    gc.collect()
    with warnings.catch_warnings():
        # looking at everything there is means looking at what packages call outdated
        warnings.simplefilter("ignore")
        # in a function of its own: a list that outlived the count would keep them alive itself
        tensors = [thing for thing in gc.get_objects() if isinstance(thing, torch.Tensor)]
    return len(tensors), sum(tensor.numel() * tensor.itemsize for tensor in tensors) / 1e6


def disc(width: int = 96, height: int = 80) -> np.ndarray:
    """A soft disc as RGBA uint8."""
    y, x = np.mgrid[:height, :width]
    alpha = np.clip((0.36 - np.hypot(x / width - 0.5, y / height - 0.5)) * 12, 0, 1) * 255
    return np.stack([x % 256, y % 256, (x + y) % 256, alpha], axis=-1).astype(np.uint8)


def jobs() -> Iterator[tuple[str, Method | None, dict[str, Any], dict[str, Any], str]]:
    """Name, method, arguments, fields of the request, and where a fault happens; over and over."""
    picture = Image.fromarray(disc())
    while True:
        for method in RELEASED:
            yield method.label, method, {}, {}, ""
        yield "off", None, {}, {}, ""
        yield "img2img", RELEASED[4], {}, {"init_images": [picture]}, ""
        yield "Stop At", RELEASED[5], {"ending_step": 0.5}, {"batch_size": 2}, ""
        yield "highres pass", RELEASED[4], {}, {"enable_hr": True, "hr_scale": 1.5}, ""
        yield "keep transparency", KEEP, {}, {"init_images": [picture]}, ""
        yield "repaint", RELEASED[4], {"repaint_with": PAINTER}, {}, ""
        yield "missing picture", RELEASED[6], {"fg_image": None}, {}, ""
        yield "wrong family", RELEASED[3], {}, {}, "family"
        yield "fault while sampling", RELEASED[3], {}, {}, "sampling"
        yield "no memory while decoding", RELEASED[4], {}, {}, "memory"
        yield "fault while decoding", RELEASED[0], {}, {}, "decoding"


class Bench:
    """One WebUI for each family, and one extension for both."""

    def __init__(self, models_dir: Path) -> None:
        self.host = MiniatureHost(models_dir)
        self.script = load_script(lambda: self.host)
        layer_files(models_dir / "layer_model", seed=1)
        self.webuis = {
            SDXL: WebUI(load_base(base_state_dict(seed=1))),
            SD15: WebUI(load_base(base_state_dict(1, SD15_MINIATURE), SD15_MINIATURE)),
        }
        painter = Checkpoint(self.webuis[SD15].base, SD15.key, PAINTER)
        self.host.others[PAINTER] = lambda: painter

    def run(self, method: Method | None, changes: dict[str, Any], fields: dict[str, Any], fault: str) -> bool:
        """Run a job; False if it failed."""
        family = method.family if method in RELEASED else SDXL
        webui = self.webuis[family]
        self.host.family = "other" if fault == "family" else family.key
        arguments: dict[str, Any] = {"enabled": False}
        if method is not None:
            pictures = {f"{SHORT[layer]}_image": disc() for layer in method.pictures}
            arguments = {"method": method.label, **pictures, **changes}
        settings = {"prompt": "a cup", "steps": 2, "width": 64, "height": 64, **fields}
        p = Processing(webui, scripts=[self.script], script_args=[arguments], **settings)
        decode = ways.decode_rgba
        left = [1]

        def no_memory(*args: Any, **kwargs: Any) -> Any:
            if left and left.pop():
                raise RuntimeError("out of memory")
            return decode(*args, **kwargs)

        def broken(*args: Any, **kwargs: Any) -> Any:
            raise RuntimeError("a fault")

        try:
            if fault in ("memory", "decoding"):
                ways.decode_rgba = no_memory if fault == "memory" else broken
            elif fault == "sampling":
                webui.original.shared.network.forward = broken
            webui.answer(p)
        except (RuntimeError, LayerDiffuseError):
            return False
        finally:
            ways.decode_rgba = decode
            if fault == "sampling":
                del webui.original.shared.network.forward
        return True


def soak(count: int, models_dir: Path) -> Iterator[Sample]:
    """Run `count` jobs and yield what there is after each."""
    bench = Bench(models_dir)
    # what is loaded by now stays; what comes is looked through after each job
    gc.collect()
    gc.freeze()
    for number, (name, method, changes, fields, fault) in zip(range(1, count + 1), jobs(), strict=False):
        succeeded = bench.run(method, changes, fields, fault)
        assert succeeded == (fault in ("", "memory") and name != "missing picture"), name
        tensors, megabytes = alive()
        networks = [webui.original.shared.network for webui in bench.webuis.values()]
        yield Sample(
            number,
            name,
            resident_megabytes(),
            open_files(),
            tensors,
            megabytes,
            sum(len(webui.original.patches) for webui in bench.webuis.values()),
            sum("forward" in vars(module) for network in networks for module in network.modules()),
        )


def figure(samples: list[Sample]) -> str:
    """Return resident memory over the jobs as an SVG picture."""
    width, height, left, bottom, top = 720, 240, 56, 36, 16
    highest = max(sample.resident for sample in samples) * 1.1
    points = " ".join(
        f"{left + (width - left - 8) * (sample.job - 1) / max(1, len(samples) - 1):.1f},"
        f"{height - bottom - (height - bottom - top) * sample.resident / highest:.1f}"
        for sample in samples
    )
    tenth = left + (width - left - 8) * 9 / max(1, len(samples) - 1)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
        'font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    for part in range(5):
        y = height - bottom - (height - bottom - top) * part / 4
        lines.append(f'<line x1="{left}" y1="{y:.1f}" x2="{width - 8}" y2="{y:.1f}" stroke="#ddd"/>')
        lines.append(
            f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{highest * part / 4:.0f}</text>'
        )
    lines += [
        f'<line x1="{tenth:.1f}" y1="{top}" x2="{tenth:.1f}" y2="{height - bottom}" stroke="#999" '
        'stroke-dasharray="4"/>',
        f'<polyline points="{points}" fill="none" stroke="#1763a6" stroke-width="2"/>',
        f'<text x="{left}" y="{height - 20}">1</text>',
        f'<text x="{tenth:.1f}" y="{height - 20}" text-anchor="middle">10</text>',
        f'<text x="{width - 8}" y="{height - 20}" text-anchor="end">{len(samples)}</text>',
        f'<text x="{width / 2}" y="{height - 6}" text-anchor="middle">'
        "resident memory in MB after each job</text>",
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Print, and write what was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--figure", type=Path)
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    logging.disable(logging.CRITICAL)
    torch.set_num_threads(1)
    samples = []
    with tempfile.TemporaryDirectory() as folder:
        for sample in soak(chosen.count, Path(folder)):
            samples.append(sample)
            if sample.job % 10 == 0:
                print(sample, flush=True)
    settled = samples[9:]
    highest = max(sample.resident for sample in settled)
    print(
        f"resident after job 10: {settled[0].resident:.0f} MB, highest since: {highest:.0f} MB, "
        f"at the end: {settled[-1].resident:.0f} MB"
    )
    if chosen.figure:
        chosen.figure.write_text(figure(samples), "utf-8")
    if chosen.json:
        chosen.json.write_text(json.dumps([asdict(sample) for sample in samples], indent=1), "utf-8")


if __name__ == "__main__":
    main()
