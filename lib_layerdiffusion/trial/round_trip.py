"""The round trip of a known transparent picture through encoder, autoencoder and decoder, and its faults.

Bounds: by later work LayerDiffuse's encoder and decoder bring the pictures of AIM-500 back with 32.09 dB
(PSNR over backgrounds). That is a root mean square error of 0.025. One picture may be harder than the mean
of five hundred, and checkpoints have autoencoders of their own; so ten times that squared error is let
pass: 22 dB, or 0.078. A mean absolute error is never above the root of the mean square, so the same bound
holds for the errors of alpha and of colour. Half of it is the bound for a shift to red, which other ports
are known for.
"""

from __future__ import annotations

import math
from operator import mul
from typing import NamedTuple

from lib_layerdiffusion.pictures import png
from lib_layerdiffusion.pictures.expected_error import Errors, errors
from lib_layerdiffusion.pictures.png import Raster

REPORTED = 32.09
LEAST = REPORTED - 10
LARGEST = 10 ** (-LEAST / 20)
LARGEST_RED = LARGEST / 2
LEAST_OWN = LEAST - 3
"""What the checkpoint's own autoencoder must give in dB for the round trip to say anything."""
BETTER = 3
"""By how many dB a picture that was mixed up must gain when it is put right."""
FLAT = 0.2
"""Share of the true alpha's deviation below which there is as good as none."""
ALIKE = 0.5
"""Correlation above which an alpha is that of the picture."""

MIXED: tuple[tuple[tuple[int, ...], str], ...] = (
    ((2, 1, 0, 3), "red and blue are swapped"),
    ((1, 2, 3, 0), "alpha stands before the colours"),
    ((3, 1, 2, 0), "alpha stands in the place of red"),
)
"""Where each channel would have to be taken from to put the picture right."""


class RoundTrip(NamedTuple):
    """Errors, and in dB what the checkpoint's own autoencoder brought back of the same picture on grey.

    `problem` is a sentence, "" where all is within bounds.
    """

    errors: Errors
    own: float
    problem: str


def judge(result: Raster, true: Raster, plain: Raster, on_grey: Raster) -> RoundTrip:
    """Compare what came back with what was sent, with LayerDiffuse and without it (`plain`, `on_grey`)."""
    own = errors(plain, on_grey).psnr
    found = errors(result, true)
    if result.mode != "RGBA":
        return RoundTrip(found, own, f"The picture that came back is {result.mode}, without transparency.")
    wrong = _beyond(found)
    if not wrong:
        return RoundTrip(found, own, "")
    return RoundTrip(found, own, f"{wrong} Likely cause: {_cause(result, true, found, own)}")


def _beyond(found: Errors) -> str:
    """What is out of bounds, as a sentence."""
    wrong = []
    if found.psnr < LEAST:
        wrong.append(f"over backgrounds it has {found.psnr:.1f} dB in place of {LEAST:.0f} or more")
    if found.alpha > LARGEST:
        wrong.append(f"alpha is {found.alpha:.3f} off in place of at most {LARGEST:.3f}")
    if found.colour > LARGEST:
        wrong.append(f"opaque colours are {found.colour:.3f} off in place of at most {LARGEST:.3f}")
    if found.red > LARGEST_RED:
        wrong.append(f"it is {found.red:.3f} redder, where {LARGEST_RED:.3f} is allowed")
    text = "; ".join(wrong)
    return f"{text[0].upper()}{text[1:]}." if wrong else ""


def _cause(result: Raster, true: Raster, found: Errors, own: float) -> str:
    planes = [result.plane(channel) for channel in range(4)]
    changed = {f"swapped channels: {words}": [planes[n] for n in order] for order, words in MIXED}
    changed["alpha is inverted"] = [*planes[:3], bytes(255 - value for value in planes[3])]
    for words, channels in changed.items():
        put_right = errors(png.join(result.width, result.height, *channels), true).psnr
        if put_right > max(found.psnr + BETTER, LEAST - BETTER):
            return f"{words}."
    if own < LEAST_OWN:
        return (
            f"the checkpoint: without LayerDiffuse it brings the same picture back with {own:.1f} dB. Choose "
            "its own VAE, or another checkpoint."
        )
    spread, alike = _compare(planes[3], true.plane(3))
    if spread < FLAT:
        return (
            "wrong latent scale: alpha is nearly the same everywhere, as where the latent comes to the "
            "decoder, or the encoder's offset to the latent, at another scale."
        )
    if alike < ALIKE:
        return (
            "another file: alpha has nothing to do with the picture. Check the files of the encoder and the "
            "decoder (python -m lib_layerdiffusion verify)."
        )
    if found.red > LARGEST_RED and found.alpha < LARGEST:
        return "wrong latent scale: the encoder's offset is too strong, which turns pictures red."
    return (
        "wrong latent scale: the alpha is that of the picture, but too weak or too strong; or another VAE "
        "than the checkpoint's own is selected."
    )


def _compare(plane: bytes, true: bytes) -> tuple[float, float]:
    """A plane's deviation in that of the true one, and their correlation."""
    count = len(plane)
    mean, true_mean = sum(plane) / count, sum(true) / count
    variance = sum(map(mul, plane, plane)) / count - mean * mean
    true_variance = sum(map(mul, true, true)) / count - true_mean * true_mean
    both = sum(map(mul, plane, true)) / count - mean * true_mean
    spread = math.sqrt(max(variance, 0) / max(true_variance, 1e-9))
    return spread, both / math.sqrt(max(variance * true_variance, 1e-9))
