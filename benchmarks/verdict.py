"""Time and memory of judging a picture, against the same on the whole picture.

    python -m benchmarks.verdict [--size 1024] [--rounds 15] [--threads 1]

A cut-out is one of the held-out emoji, enlarged. The plain way looks at islands, holes and edges without
making the picture smaller first.
"""

from __future__ import annotations

from unittest.mock import patch

import cv2
import numpy as np

from benchmarks.report import Report, paired, parse, parser, peak_memory
from lib_layerdiffusion.pictures import measures
from lib_layerdiffusion.pictures.verdict import verdict
from miniature.measure.quality import held_out


def main() -> None:
    made = parser(__doc__, rounds=15)
    made.add_argument("--size", type=int, default=1024, help="side of the pictures")
    chosen = parse(made)
    cv2.setNumThreads(chosen.threads or 1)
    side = chosen.size
    report = Report("verdict", settings={"size": side, "threads of OpenCV": cv2.getNumThreads()})
    before = np.full((side, side, 3), measures.GREY, np.uint8)
    cut_out = cv2.resize(next(iter(held_out().values())), (side, side), interpolation=cv2.INTER_CUBIC)
    for name, rgba in {"a cut-out": cut_out, "noise": _noise(side)}.items():

        def ours(rgba: np.ndarray = rgba) -> object:
            return verdict(measures.measure(rgba, before, 0.01))

        def plain(rgba: np.ndarray = rgba) -> object:
            with patch.object(measures, "SIDE", side):
                return verdict(measures.measure(rgba, before, 0.01))

        times = paired(chosen.rounds, {"ours": ours, "plain": plain})
        with peak_memory() as peak:
            ours()
        copies = (peak.megabytes or 0) / (rgba.nbytes / 1e6)
        report.compare(f"judging {name}", times["ours"], times["plain"], peak, copies=copies)
    report.write(chosen.json)


def _noise(side: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (side, side, 4), np.uint8)


if __name__ == "__main__":
    main()
