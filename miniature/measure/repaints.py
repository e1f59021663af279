"""How well the alpha follows a repaint, and what rim is left: `python -m miniature.measure.repaints`.

Pictures drawn by formula are moved, exactly, by up to so many pixels, in other colours and with noise, on a
backdrop that changes too. So the right picture is known. Errors of alpha are in levels; the expected error is
that over a random background (`pictures/expected_error.py`), times 10000.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import NamedTuple

import cv2
import numpy as np

from lib_layerdiffusion.pictures import backdrop
from lib_layerdiffusion.pictures.arithmetic import FloatImage, Uint8Image
from lib_layerdiffusion.pictures.expected_error import BACKGROUND_MEAN, BACKGROUND_SQUARE
from lib_layerdiffusion.pictures.moved_edges import follow
from miniature.measure.repaint_subjects import SUBJECTS

DENOISING = 0.5
FINER = 3
"""How many times finer the subjects are drawn."""
BACKDROPS = ("bled", "grey", "white")


class Repaint(NamedTuple):
    """A picture, what a model saw of it and made of it, and what would be right: RGBA, levels."""

    subject: str
    moved: int
    given: Uint8Image
    behind: FloatImage
    painted: Uint8Image
    right: FloatImage


def drawn(
    name: str, side: int, right: FloatImage | float = 0.0, down: FloatImage | float = 0.0
) -> FloatImage:
    """Draw a subject, moved by pixels: RGBA [side, side, 4], levels."""
    fine = side * FINER
    middle = (np.arange(fine) + 0.5) / fine * 2 - 1
    x, y = np.meshgrid(middle, middle)

    def as_fine(moved: FloatImage | float) -> FloatImage | float:
        return (
            np.asarray(cv2.resize(moved, (fine, fine)), np.float32)
            if isinstance(moved, np.ndarray)
            else moved
        )

    colours, alpha = SUBJECTS[name](x - 2 * as_fine(right) / side, y - 2 * as_fine(down) / side, side / 2)
    planes = [np.broadcast_to(plane, alpha.shape) * alpha for plane in colours]
    premultiplied = np.dstack([*planes, alpha]).astype(np.float32)
    small = np.asarray(cv2.resize(premultiplied, (side, side), interpolation=cv2.INTER_AREA), np.float32)
    share = small[..., 3:]
    return np.dstack([small[..., :3] / np.maximum(share, 1e-6), 255 * share])


def repaints(kind: str, side: int, moves: tuple[int, ...] = (0, 1, 2, 3)) -> Iterator[Repaint]:
    """Every subject as it is and moved, painted again on a backdrop that is one of BACKDROPS."""
    for number, name in enumerate(SUBJECTS):
        given = _levels(drawn(name, side))
        behind = (
            backdrop.bled(given)
            if kind == "bled"
            else backdrop.plain((127,) * 3 if kind == "grey" else (255,) * 3, side, side)
        )
        for moved in moves:
            rng = np.random.default_rng((number, moved))
            angle, bend = rng.uniform(0, 2 * np.pi), _smooth(rng, side, 2)
            right = np.float32(0.7 * np.cos(angle)) + np.float32(0.6) * bend[..., 0]
            down = np.float32(0.7 * np.sin(angle)) + np.float32(0.6) * bend[..., 1]
            wanted = drawn(name, side, moved * right, moved * down)
            colours = wanted[..., :3] * (1 + 0.12 * _smooth(rng, side, 3)) + 18 * _smooth(rng, side, 3)
            wanted = np.dstack([colours.clip(0, 255), wanted[..., 3]]).astype(np.float32)
            share = wanted[..., 3:] / 255
            painted = wanted[..., :3] * share + (behind + 10 * _smooth(rng, side, 3)) * (1 - share)
            painted = painted + rng.normal(0, 2.5, painted.shape)
            yield Repaint(name, moved, given, behind, _levels(painted), wanted)


def put_back(one: Repaint, strength: float, unmixed: bool = True) -> Uint8Image:
    """Give a repaint its alpha: strength 0 and not `unmixed` is putting it back plainly."""
    shown = backdrop.laid_on(one.given, one.behind)
    alpha = follow(np.ascontiguousarray(one.given[..., 3]), shown, one.painted, strength, DENOISING)
    if unmixed:
        return backdrop.taken_off(one.painted, alpha, one.behind)
    return np.dstack([one.painted, alpha])


def alpha_error(picture: Uint8Image, right: FloatImage) -> float:
    return float(np.abs(picture[..., 3] - right[..., 3]).mean())


def expected_error(picture: Uint8Image, right: FloatImage) -> float:
    """Return 10000 times the squared error over a random background, colours in [-1, 1]."""
    shares = picture[..., 3:] / 255, right[..., 3:] / 255
    colours = picture[..., :3] / 127.5 - 1, right[..., :3] / 127.5 - 1
    shown = shares[0] * colours[0] - shares[1] * colours[1]
    away = shares[0] - shares[1]
    mean, square = np.array(BACKGROUND_MEAN), np.array(BACKGROUND_SQUARE)
    return 1e4 * float((shown**2 - 2 * mean * shown * away + square * away**2).mean())


def over_black_and_white(picture: Uint8Image, right: FloatImage) -> float:
    """Return the mean error in levels, of the picture over either."""
    both = [
        np.abs(
            one[..., :3] * (one[..., 3:] / 255)
            - right[..., :3] * (right[..., 3:] / 255)
            + level * (right[..., 3:] - one[..., 3:].astype(np.float32)) / 255
        ).mean()
        for one, level in ((picture, 0), (picture, 255))
    ]
    return float(np.mean(both))


def _smooth(rng: np.random.Generator, side: int, channels: int) -> FloatImage:
    coarse = rng.uniform(-1, 1, (5, 5, channels)).astype(np.float32)
    return np.asarray(cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC), np.float32).clip(-1, 1)


def _levels(picture: np.ndarray) -> Uint8Image:
    return np.rint(picture.clip(0, 255)).astype(np.uint8)


def main() -> None:
    side = int(sys.argv[1]) if len(sys.argv) > 1 else 384
    print("| backdrop | follow | alpha, moved | worst | alpha, not moved | worst | expected | worst | rim |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for kind in BACKDROPS:
        made = list(repaints(kind, side))
        for name, strength, unmixed in (("put back plainly", 0.0, False), ("0", 0.0, True), ("1", 1.0, True)):
            pictures = [put_back(one, strength, unmixed) for one in made]
            alphas = [alpha_error(picture, one.right) for picture, one in zip(pictures, made, strict=True)]
            moved = [value for value, one in zip(alphas, made, strict=True) if one.moved]
            still = [value for value, one in zip(alphas, made, strict=True) if not one.moved]
            expected = [
                expected_error(picture, one.right) for picture, one in zip(pictures, made, strict=True)
            ]
            rim = [
                over_black_and_white(picture, one.right) for picture, one in zip(pictures, made, strict=True)
            ]
            print(
                f"| {kind} | {name} | {np.mean(moved):.2f} | {max(moved):.2f} | {np.mean(still):.2f} | "
                f"{max(still):.2f} | {np.mean(expected):.1f} | {max(expected):.1f} | {np.mean(rim):.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
