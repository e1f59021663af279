"""Finishing a picture: time and memory of its steps, and the edge colours beside those of pymatting.

    python -m benchmarks.finish --emoji FOLDER [--pymatting PYTHON] [--size 1024] [--rounds 7]

FOLDER keeps the archive of Fluent Emoji that the miniature is trained on; it is fetched if it is not there.
Sixty of them, at 512x512 with their exact alpha, are mixed with white, grey and smooth noise; the error is
that of the colours found where 0.02 < alpha < 0.98, in levels. PYTHON is an interpreter of an environment
with pymatting, which runs beside this one, in turn with it. Times are the processor's, on one thread.
"""

from __future__ import annotations

import io
import statistics
import subprocess
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from benchmarks.report import Report, parse, parser, peak_memory
from lib_layerdiffusion.pictures.arithmetic import Uint8Image
from lib_layerdiffusion.pictures.bleed import bleed
from lib_layerdiffusion.pictures.decontaminate import decontaminate
from lib_layerdiffusion.pictures.finishing import Steps, finish
from miniature.training import emoji

COUNT, SIDE, SMALLER = 60, 512, 4
PANEL = Steps(veil=3, specks=0.005, holes=0.03, decontaminate=1, trim=8)
STEPS = {
    "clean veil": Steps(veil=3),
    "remove specks": Steps(specks=0.005),
    "fill holes": Steps(holes=0.03),
    "choke": Steps(choke=1.5),
    "feather": Steps(feather=3),
    "bleed": Steps(bleed=True),
    "trim": Steps(trim=8),
}
WORKER = """
import sys, time
import numpy as np
from pymatting import estimate_foreground_ml
while True:
    head = sys.stdin.buffer.readline()
    if not head:
        break
    shape = [int(n) for n in head.split()]
    given = np.frombuffer(sys.stdin.buffer.read(int(np.prod(shape))), np.uint8).reshape(shape)
    image, alpha = given[..., :3] / 255.0, given[..., 3] / 255.0
    begin = time.process_time()
    found = estimate_foreground_ml(image, alpha)
    taken = time.process_time() - begin
    colours = np.rint(found.clip(0, 1) * 255).astype(np.uint8)
    sys.stdout.buffer.write(np.float64(taken).tobytes() + colours.tobytes())
    sys.stdout.buffer.flush()
"""


class Pymatting:
    """Runs in a process of its own, on one thread."""

    def __init__(self, python: str) -> None:
        self._process = subprocess.Popen(
            [python, "-c", WORKER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1", "HOME": str(Path.home())},
        )

    def __call__(self, rgba: Uint8Image) -> tuple[Uint8Image, float]:
        """Return colours [H, W, 3], and the seconds that the estimate alone took."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(" ".join(map(str, rgba.shape)).encode() + b"\n" + rgba.tobytes())
        self._process.stdin.flush()
        size = rgba.shape[0] * rgba.shape[1] * 3
        answer = self._process.stdout.read(8 + size)
        colours = np.frombuffer(answer[8:], np.uint8).reshape(*rgba.shape[:2], 3)
        return colours, float(np.frombuffer(answer[:8], np.float64)[0])


def pictures(folder: Path, side: int) -> list[Uint8Image]:
    """Sixty pictures spread over all that have a name of one code point, RGBA [side, side, 4]."""
    found = []
    with tarfile.open(emoji.fetch(folder)) as package:
        members = {Path(one.name).stem: one for one in package.getmembers() if one.name.endswith(".webp")}
        names = [name for name in sorted(members) if emoji.name_of(name)]
        for number in range(COUNT):
            file = package.extractfile(members[names[number * len(names) // COUNT]])
            assert file is not None
            picture = Image.open(io.BytesIO(file.read())).convert("RGBA")
            found.append(np.asarray(picture.resize((side, side), Image.Resampling.LANCZOS)))
    return found


def backgrounds(side: int, seed: int) -> dict[str, np.ndarray]:
    coarse = np.random.default_rng(seed).uniform(0, 255, (8, 8, 3)).astype(np.float32)
    noise = np.asarray(cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)).clip(0, 255)
    plain = np.ones((side, side, 3), np.float32)
    return {"white": 255 * plain, "grey": 127 * plain, "noise": noise}


def mixed(truth: Uint8Image, background: np.ndarray) -> Uint8Image:
    share = truth[..., 3:] / np.float32(255)
    colours = np.rint(truth[..., :3] * share + background * (1 - share))
    return np.dstack([colours.astype(np.uint8), truth[..., 3]])


def errors(report: Report, truths: list[Uint8Image], other: Pymatting | None) -> None:
    ways: dict[str, Callable[[Uint8Image], Any]] = {
        "nothing": lambda given: given[..., :3],
        "ours": lambda given: decontaminate(given)[..., :3],
    }
    if other is not None:
        ways["pymatting"] = lambda given: other(given)[0]
    for name in backgrounds(8, 0):
        told: dict[str, list[float]] = {way: [] for way in ways}
        for number, truth in enumerate(truths):
            given = mixed(truth, backgrounds(SIDE, number)[name])
            band = (truth[..., 3] > 0.02 * 255) & (truth[..., 3] < 0.98 * 255)
            for way, run in ways.items():
                difference = run(given)[band].astype(np.float32) - truth[band, :3]
                told[way].append(float(np.abs(difference).mean()))
        means = {way: round(float(np.mean(values)), 2) for way, values in told.items()}
        report.figure(f"error at the edge, in levels, over {name}", **means)


def bleeding(report: Report, truths: list[Uint8Image]) -> None:
    """Errors of pictures made smaller in straight alpha, over black or white, against premultiplied ones.

    At the edge alone, where 0 < alpha < 1 in the smaller picture. `least` is what the best colours under the
    transparency would give: those of visible pixels stay, whatever is done.
    """
    told: dict[str, list[np.ndarray]] = {"black": [], "ours": [], "least": []}
    for truth in truths:
        bled, given = _squares(bleed(truth)), _squares(truth)
        hidden = given[..., 3] == 0
        alpha = given[..., 3] / 255
        share = alpha.mean(-1)[..., None]
        right = (given[..., :3] * alpha[..., None]).mean(-2) / np.maximum(share, 1e-9)
        shown = np.where(hidden[..., None], 0, given[..., :3]).sum(-2)
        count = hidden.sum(-1)[..., None]
        wanted = ((SMALLER**2 * right - shown) / np.maximum(count, 1)).clip(0, 255)
        found = {
            "black": shown / SMALLER**2,
            "ours": bled[..., :3].mean(-2),
            "least": (shown + count * wanted) / SMALLER**2,
        }
        edge = (share[..., 0] > 0) & (share[..., 0] < 1)
        for way, colours in found.items():
            told[way].append((share * np.abs(colours - right))[edge].ravel())
    for way, errors_ in told.items():
        every = np.concatenate(errors_)
        report.figure(
            f"made {SMALLER} times smaller in straight alpha, {way} under the transparency: levels",
            mean=round(float(every.mean()), 2),
            worst_picture=round(max(float(one.mean()) for one in errors_), 2),
            of_95_percent=round(float(np.percentile(every, 95)), 2),
            largest=round(float(every.max()), 1),
        )


def _squares(rgba: Uint8Image) -> np.ndarray:
    """The pixels that become one: float64 [H/4, W/4, 16, 4]."""
    height, width = (side // SMALLER for side in rgba.shape[:2])
    parts = rgba.astype(np.float64).reshape(height, SMALLER, width, SMALLER, 4)
    return np.asarray(parts.swapaxes(1, 2).reshape(height, width, SMALLER**2, 4))


def processor(run: Callable[[], object]) -> float:
    begin = time.process_time()
    run()
    return time.process_time() - begin


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--emoji", type=Path, required=True, help="folder for the archive of pictures")
    made.add_argument("--pymatting", help="interpreter of an environment with pymatting")
    made.add_argument("--size", type=int, default=1024, help="side of the pictures that are timed")
    chosen = parse(made)
    cv2.setNumThreads(chosen.threads or 1)
    report = Report("finish", settings={"size": chosen.size, "threads of OpenCV": cv2.getNumThreads()})
    other = Pymatting(chosen.pymatting) if chosen.pymatting else None
    sixty = pictures(chosen.emoji, SIDE)
    errors(report, sixty, other)
    bleeding(report, sixty)
    side = chosen.size
    truths = pictures(chosen.emoji, side)
    shares = [float(((one[..., 3] > 0) & (one[..., 3] < 255)).mean()) for one in truths]
    middle = int(np.argsort(shares)[len(shares) // 2])
    cases = {"usual": middle, "softest": int(np.argmax(shares))}
    for case, number in cases.items():
        given = mixed(truths[number], backgrounds(side, number)["noise"])
        what = f"decontaminate, {case} picture: {100 * shares[number]:.0f}% half-transparent"
        ours, theirs = [], []
        for _ in range(chosen.rounds + 1):
            ours.append(processor(lambda: decontaminate(given)))  # noqa: B023
            theirs.append(other(given)[1] if other is not None else 0.0)
        with peak_memory() as peak:
            decontaminate(given)
        copies = (peak.megabytes or 0) / (given.nbytes / 1e6)
        if other is not None:
            report.compare(what, ours[1:], theirs[1:], peak, copies=copies, least=min(ours))
        else:
            report.figure(what, seconds=statistics.median(ours[1:]), least=min(ours), copies=copies)
    given = mixed(truths[middle], backgrounds(side, middle)["noise"])
    veiled = given.copy()
    veiled[..., 3] = np.maximum(given[..., 3], 2)
    for what, steps in {"all steps of the panel": PANEL, **STEPS}.items():
        one = given if steps.bleed else veiled
        times = [processor(lambda: finish(one, steps)) for _ in range(chosen.rounds + 1)][1:]  # noqa: B023
        with peak_memory() as peak:
            finish(one, steps)
        copies = (peak.megabytes or 0) / (given.nbytes / 1e6)
        report.figure(what, seconds=statistics.median(times), least=min(times), copies=copies)
    report.write(chosen.json)


if __name__ == "__main__":
    main()
