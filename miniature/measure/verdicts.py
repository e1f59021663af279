"""How right the verdict is, and what another try brings: `python -m miniature.measure.verdicts`.

Pictures are labelled by their alpha's mean absolute error to that of the same prompt and seed with good
settings and the checkpoint that the files were made for; not by anything that the verdict looks at.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from lib_layerdiffusion.job.retries import REMEDIES, Remedy
from lib_layerdiffusion.job.verdicts import LIST_KEY
from lib_layerdiffusion.methods import Method
from lib_layerdiffusion.pictures.verdict import APART, CLEAN, FAILED, SOME
from miniature.measure.quality import ATTENTION, CONVOLUTION, SOLID, as_float
from miniature.webui.demo import Trained

PROMPTS = (*SOLID, "wine glass", "fire", "ghost")
GOOD, BAD = 0.06, 0.12
"""Errors up to which a picture is as it should be, and beyond which it is not; between them it is either."""
STEPS = 10
TRIALS = 100


class Made(NamedTuple):
    """A generated picture's alpha, 0 to 1 [H, W], what was told of it, and how many it took."""

    alpha: NDArray[np.float32]
    told: dict[str, Any]
    tries: int


class Case(NamedTuple):
    """A picture with its truth: what was done, alpha's error, and what was told of it."""

    kind: str
    error: float
    told: dict[str, Any]

    @property
    def score(self) -> float:
        """How far beyond what a clean picture has the worst of the numbers is."""
        told = self.told
        empty = float(told["clear"] == 1)
        return max(told["border"] / SOME, told["frame"] * 8, told["passes_apart"] / APART, 99 * empty)


def made(trained: Trained, number: int, method: Method, shift: int = 0, **arguments: Any) -> Made:
    """Picture `number`: its prompt, and its seed moved on by `shift`."""
    prompt = PROMPTS[number % len(PROMPTS)]
    given = {"method": method.label, **arguments}
    result = trained.run([given], prompt=prompt, seed=number + shift)
    (told,) = result.extra_generation_params[LIST_KEY]
    return Made(as_float(result.images[0])[..., 3], told, len(told.get("tries", [""])))


def cases() -> Iterator[Case]:
    """260 pictures: good ones, too little of the patch, none, and the drifted checkpoint."""
    trained = usual(Trained())
    truth = {
        method: [made(trained, number, method) for number in range(count)]
        for method, count in ((ATTENTION, 50), (CONVOLUTION, 20))
    }
    for method, pictures in truth.items():
        yield from (Case(f"{method.weights.name}", 0.0, one.told) for one in pictures)
    less: list[tuple[str, dict[str, Any]]] = [
        ("Weight", {"weight": one}) for one in (0.2, 0.3, 0.4, 0.5, 0.6)
    ]
    less += [("Stop At", {"ending_step": one}) for one in (0.2, 0.3, 0.4, 0.5, 0.6)]
    for kind, arguments in less:
        for number in range(10):
            yield _case(kind, made(trained, number, ATTENTION, **arguments), truth[ATTENTION][number])
    for number in range(20):
        yield _case("none", made(trained, number, ATTENTION, weight=0.0), truth[ATTENTION][number])
    trained.load_drifted()
    for number in range(50):
        yield _case("drifted", made(trained, number, ATTENTION), truth[ATTENTION][number])
    for number in range(20):
        yield _case("drifted", made(trained, number, CONVOLUTION), truth[CONVOLUTION][number])


def _case(kind: str, one: Made, true: Made) -> Case:
    return Case(kind, float(np.abs(one.alpha - true.alpha).mean()), one.told)


def usual(trained: Trained) -> Trained:
    trained.steps = STEPS
    trained.host.settings["layerdiffuse_decode_passes"] = 8
    return trained


def judged(found: Sequence[Case]) -> None:
    """Print how often the verdict is right, and the curve's area."""
    print("| pictures | clean | weak | failed | error of alpha: median, largest |")
    print("| --- | --- | --- | --- | --- |")
    for kind in dict.fromkeys(one.kind for one in found):
        own = [one for one in found if one.kind == kind]
        words = [sum(one.told["verdict"] == word for one in own) for word in ("clean", "weak", "failed")]
        errors = [one.error for one in own]
        row = [kind, *words, f"{np.median(errors):.3f}, {max(errors):.3f}"]
        print(f"| {' | '.join(map(str, row))} |")
    known = [one for one in found if not GOOD < one.error <= BAD]
    right = [(one.told["verdict"] == CLEAN) == (one.error <= GOOD) for one in known]
    missed = sum(one.told["verdict"] == CLEAN for one in known if one.error > BAD)
    alarms = sum(one.told["verdict"] != CLEAN for one in known if one.error <= GOOD)
    print(
        f"\nRight for {sum(right)} of {len(known)} ({np.mean(right):.1%}): {missed} bad ones called clean, "
        f"{alarms} good ones not. Area under the curve {area(known):.3f}. {len(found) - len(known)} more lie "
        f"between {GOOD} and {BAD}."
    )


def area(known: Sequence[Case]) -> float:
    """The chance that a bad picture has a higher score than a good one."""
    bad = np.array([one.score for one in known if one.error > BAD])
    good = np.array([one.score for one in known if one.error <= GOOD])
    difference = bad[:, None] - good[None]
    return float((difference > 0).mean() + (difference == 0).mean() / 2)


def remedies(count: int) -> None:
    """Print the shares of clean pictures on the drifted checkpoint: first, with each remedy, with retries."""
    trained = usual(Trained())
    trained.load_drifted()
    first = [made(trained, number, ATTENTION) for number in range(count)]
    failed = [number for number, one in enumerate(first) if one.told["verdict"] == FAILED]
    clean = sum(one.told["verdict"] == CLEAN for one in first)
    print("\n| | clean | of those that failed first | pictures made |\n| --- | --- | --- | --- |")
    print(f"| first try | {clean / count:.0%} | | 1 |")
    alone: dict[str, tuple[dict[str, Any], Method]] = {
        "next seed": ({"shift": 1}, ATTENTION),
        "Weight 1.2": ({"weight": 1.2}, ATTENTION),
        "Weight 1.4": ({"weight": 1.4}, ATTENTION),
        "the other injection": ({}, CONVOLUTION),
        "the other injection, next seed": ({"shift": 1}, CONVOLUTION),
        "the other injection, Weight 1.2": ({"weight": 1.2}, CONVOLUTION),
    }
    for name, (arguments, method) in alone.items():
        got = [made(trained, number, method, **arguments).told["verdict"] for number in failed]
        gained = sum(word == CLEAN for word in got)
        print(
            f"| then {name} | {(clean + gained) / count:.0%} | {gained} of {len(failed)} | "
            f"{1 + len(failed) / count:.2f} |",
            flush=True,
        )
    for most in (1, 2, 3):
        trained.host.settings["layerdiffuse_retries"] = most
        again = [made(trained, number, ATTENTION) for number in failed]
        gained = sum(one.told["verdict"] == CLEAN for one in again)
        tries = (count - len(failed) + sum(one.tries for one in again)) / count
        name = f"up to {most} more, the last with {_named(REMEDIES[most - 1])}"
        share = f"{(clean + gained) / count:.0%}"
        print(f"| {name} | {share} | {gained} of {len(failed)} | {tries:.2f} |", flush=True)


def _named(remedy: Remedy) -> str:
    named = (
        (remedy.other, "the other injection"),
        (remedy.seed, "the next seed"),
        (remedy.heavier, "more Weight"),
    )
    return " and ".join(text for chosen, text in named if chosen)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m miniature.measure.verdicts", description=__doc__)
    parser.add_argument("--trials", type=int, default=TRIALS, help="pictures of the drifted checkpoint")
    options = parser.parse_args()
    torch.set_num_threads(1)
    judged(list(cases()))
    remedies(options.trials)
    return 0


if __name__ == "__main__":
    sys.exit(main())
