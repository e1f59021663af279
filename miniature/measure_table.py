"""The table of measured values: `python -m miniature.measure_table`. Tests compare the same with bounds."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch

from lib_layerdiffusion.methods import SD15
from miniature import measure, measure_joint
from miniature.demo import METHOD, Trained


def row(name: str, values: Sequence[float], digits: int) -> None:
    mean, worst, best = np.mean(values), min(values), max(values)
    print(
        f"| {name} | {mean:.{digits}f} | {worst:.{digits}f} | {best:.{digits}f} | {len(values)} |", flush=True
    )


def round_trips(trained: Trained) -> None:
    pictures = measure.held_out()
    see_through = measure.see_through(pictures)
    for kind, given in (("held out", pictures), ("held out, see-through", see_through)):
        trips = [measure.round_trip(trained, rgba) for rgba in given.values()]
        row(f"{kind}: alpha, mean absolute error", [trip.alpha for trip in trips], 4)
        if given is pictures:
            # glass has no opaque pixels
            row(f"{kind}: colour of opaque pixels, mean absolute error", [t.colour for t in trips], 4)
    kept = [measure.decoding_kept(trained, rgba) for rgba in see_through.values()]
    row("autoencoder's own decoding, PSNR in dB", [plain for plain, _ in kept], 1)
    row("the same with the offset", [adjusted for _, adjusted in kept], 1)


def generated(trained: Trained, file: str, weight: float) -> None:
    made = [
        measure.generated(trained, prompt, seed, method=METHOD[file].label, weight=weight)
        for prompt in measure.SOLID
        for seed in (1, 2, 3, 4)
    ]
    row(f"{file}, weight {weight:g}: alpha of the border", [one.border for one in made], 3)
    row(f"{file}, weight {weight:g}: alpha of the middle", [one.middle for one in made], 3)


def conditioned(trained: Trained, known: Sequence[measure.Layers]) -> None:
    row("fg2ble: foreground kept, PSNR", [measure.foreground_kept(trained, s) for s in known], 1)
    row("bg2ble: background kept, PSNR", [measure.background_kept(trained, s) for s in known], 1)
    found = [measure.background_found(trained, scene) for scene in known]
    row("fgble2bg: hidden background, PSNR", [to_background for to_background, _ in found], 1)
    row("fgble2bg: PSNR to the blended picture there", [to_blended for _, to_blended in found], 1)
    row("bgble2fg: alpha, mean absolute error", [measure.foreground_found(trained, s) for s in known], 4)
    unprompted = [measure.found_unprompted(trained, scene) for scene in known]
    row("fgble2bg without a prompt: visible background, PSNR", [one[0] for one in unprompted], 1)
    row("bgble2fg without a prompt: alpha, mean absolute error", [one[1] for one in unprompted], 4)


def scenes(trained: Trained, known: Sequence[measure.Layers]) -> None:
    together = [measure_joint.together(trained, *named) for named in measure.NAMED]
    fits = "blended to foreground over background, PSNR"
    row(f"joint: {fits}", [measure_joint.agreement(made) for made in together], 1)
    mixed = [
        measure_joint.agreement(made, background=other.background)
        for made, other in pairwise([*together, together[0]])
    ]
    row("joint: the same to another scene's background", mixed, 1)
    row("joint: foreground's alpha of the border", [measure_joint.border(made) for made in together], 3)
    around = [(s, measure_joint.around_foreground(trained, s)) for s in known]
    row("fg2bg: foreground kept, PSNR", [measure_joint.foreground_kept(s, made) for s, made in around], 1)
    given = [measure.as_float(s.foreground) for s in known]
    row(f"fg2bg: {fits}", [measure_joint.agreement(m, f) for f, (_, m) in zip(given, around, strict=True)], 1)
    before = [(s, measure_joint.before_background(trained, s)) for s in known]
    row("bg2fg: background kept, PSNR", [measure_joint.background_kept(s, made) for s, made in before], 1)
    row(f"bg2fg: {fits}", [measure_joint.agreement(m, background=s.background) for s, m in before], 1)
    row("bg2fg: foreground's alpha of the border", [measure_joint.border(made) for _, made in before], 3)


def main() -> int:
    torch.set_num_threads(1)
    print("| what | mean | least | most | pictures |\n| --- | --- | --- | --- | --- |")
    trained = Trained()
    round_trips(trained)
    known = measure.scenes(trained)
    for file, weight in (("transparent_attn", 1.0), ("transparent_attn", 0.0), ("transparent_conv", 1.0)):
        generated(trained, f"layer_xl_{file}", weight)
    conditioned(trained, known)
    trained.load(SD15)
    for weight in (1.0, 0.0):
        generated(trained, "layer_sd15_transparent_attn", weight)
    scenes(trained, known)
    return 0


if __name__ == "__main__":
    sys.exit(main())
