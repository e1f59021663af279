"""The table of measured values: `python -m miniature.measure.table`. Tests compare the same with bounds."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch

from lib_layerdiffusion.methods import ANIMA, SD15
from miniature.measure import agreement, quality, stacks
from miniature.webui.demo import METHOD, Trained

FITS = "blended to foreground over background, PSNR"


def row(name: str, values: Sequence[float], digits: int) -> None:
    mean, worst, best = np.mean(values), min(values), max(values)
    print(
        f"| {name} | {mean:.{digits}f} | {worst:.{digits}f} | {best:.{digits}f} | {len(values)} |", flush=True
    )


def round_trips(trained: Trained) -> None:
    pictures = quality.held_out()
    see_through = quality.see_through(pictures)
    for kind, given in (("held out", pictures), ("held out, see-through", see_through)):
        trips = [quality.round_trip(trained, rgba) for rgba in given.values()]
        row(f"{kind}: alpha, mean absolute error", [trip.alpha for trip in trips], 4)
        if given is pictures:
            # glass has no opaque pixels
            row(f"{kind}: colour of opaque pixels, mean absolute error", [t.colour for t in trips], 4)
    kept = [quality.decoding_kept(trained, rgba) for rgba in see_through.values()]
    row("autoencoder's own decoding, PSNR in dB", [plain for plain, _ in kept], 1)
    row("the same with the offset", [adjusted for _, adjusted in kept], 1)


def generated(trained: Trained, file: str, weight: float) -> None:
    made = [
        quality.generated(trained, prompt, seed, method=METHOD[file].label, weight=weight)
        for prompt in quality.SOLID
        for seed in (1, 2, 3, 4)
    ]
    row(f"{file}, weight {weight:g}: alpha of the border", [one.border for one in made], 3)
    row(f"{file}, weight {weight:g}: alpha of the middle", [one.middle for one in made], 3)


def with_rgba_vae(trained: Trained) -> None:
    pictures = quality.held_out()
    for kind, given in (("held out", pictures), ("held out, see-through", quality.see_through(pictures))):
        trips = [quality.round_trip(trained, rgba, quality.RGBA_VAE) for rgba in given.values()]
        row(f"RGBA VAE, {kind}: alpha, mean absolute error", [trip.alpha for trip in trips], 4)
        if given is pictures:
            colours = [trip.colour for trip in trips]
            row(f"RGBA VAE, {kind}: colour of opaque pixels, mean absolute error", colours, 4)
    for weight in (1.0, 0.0):
        generated(trained, quality.RGBA_VAE.weights.name, weight)


def stacked(trained: Trained, known: Sequence[quality.Layers]) -> None:
    made = [stacks.stacked(trained, *named, seed) for seed, named in enumerate(stacks.STACKS, 1)]
    for number, order in enumerate(("first", "second")):
        puts = [one.objects[number] for one in made]
        row(f"stack: {order} object's alpha to where the picture changed, IoU", [p.covers for p in puts], 2)
        row(
            f"stack: {order} object over what was there to the blended picture, PSNR",
            [p.agrees for p in puts],
            1,
        )
    taken = [stacks.taken_out(trained, scene) for scene in known]
    row("object out of a picture: alpha, mean absolute error", [one.alpha for one in taken], 4)
    row("object out of a picture: background behind it, PSNR", [one.behind for one in taken], 1)
    row("object out of a picture: composite to the picture, PSNR", [one.composite for one in taken], 1)


def conditioned(trained: Trained, known: Sequence[quality.Layers]) -> None:
    row("fg2ble: foreground kept, PSNR", [quality.foreground_kept(trained, s) for s in known], 1)
    row("bg2ble: background kept, PSNR", [quality.background_kept(trained, s) for s in known], 1)
    found = [quality.background_found(trained, scene) for scene in known]
    row("fgble2bg: hidden background, PSNR", [to_background for to_background, _ in found], 1)
    row("fgble2bg: PSNR to the blended picture there", [to_blended for _, to_blended in found], 1)
    row("bgble2fg: alpha, mean absolute error", [quality.foreground_found(trained, s) for s in known], 4)
    unprompted = [quality.found_unprompted(trained, scene) for scene in known]
    row("fgble2bg without a prompt: visible background, PSNR", [one[0] for one in unprompted], 1)
    row("bgble2fg without a prompt: alpha, mean absolute error", [one[1] for one in unprompted], 4)


def together(trained: Trained) -> None:
    made = [agreement.together(trained, *named) for named in quality.NAMED]
    row(f"joint: {FITS}", [agreement.agreement(one) for one in made], 1)
    mixed = [
        agreement.agreement(one, background=other.background) for one, other in pairwise([*made, made[0]])
    ]
    row("joint: the same to another scene's background", mixed, 1)
    row("joint: foreground's alpha of the border", [agreement.border(one) for one in made], 3)


def one_given(trained: Trained, known: Sequence[quality.Layers], prompted: bool) -> None:
    """Scenes made for a foreground, and for a background."""
    how = "" if prompted else " without a prompt"
    prompts = [scene.both if prompted else "" for scene in known]
    scenes = list(zip(known, prompts, strict=True))
    around = [(scene, agreement.around_foreground(trained, scene, prompt)) for scene, prompt in scenes]
    kept = [agreement.foreground_kept(scene, made) for scene, made in around]
    row(f"fg2bg{how}: foreground kept, PSNR", kept, 1)
    fits = [agreement.agreement(made, quality.as_float(scene.foreground)) for scene, made in around]
    row(f"fg2bg{how}: {FITS}", fits, 1)
    before = [(scene, agreement.before_background(trained, scene, prompt)) for scene, prompt in scenes]
    kept = [agreement.background_kept(scene, made) for scene, made in before]
    row(f"bg2fg{how}: background kept, PSNR", kept, 1)
    fits = [agreement.agreement(made, background=scene.background) for scene, made in before]
    row(f"bg2fg{how}: {FITS}", fits, 1)
    row(f"bg2fg{how}: foreground's alpha of the border", [agreement.border(m) for _, m in before], 3)


def main() -> int:
    torch.set_num_threads(1)
    print("| what | mean | least | most | pictures |\n| --- | --- | --- | --- | --- |")
    trained = Trained()
    round_trips(trained)
    known = quality.scenes(trained)
    for file, weight in (("transparent_attn", 1.0), ("transparent_attn", 0.0), ("transparent_conv", 1.0)):
        generated(trained, f"layer_xl_{file}", weight)
    conditioned(trained, known)
    stacked(trained, known)
    trained.load(SD15)
    for weight in (1.0, 0.0):
        generated(trained, "layer_sd15_transparent_attn", weight)
    together(trained)
    for prompted in (True, False):
        one_given(trained, known, prompted)
    trained.load(ANIMA)
    with_rgba_vae(trained)
    return 0


if __name__ == "__main__":
    sys.exit(main())
