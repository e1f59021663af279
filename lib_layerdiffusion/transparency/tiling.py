"""Pictures that go on at their opposite border: hosts make them with "Tiling".

The networks take the border for the end of the picture, which would be seen as a seam where two copies meet.
So they get the picture with a margin of what lies beyond, and the margin is cut off the result.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lib_layerdiffusion.models.encoder_and_decoder import DECODER_MULTIPLE, LATENT_SCALE
from lib_layerdiffusion.pictures.arithmetic import FloatImage, Uint8Image

DECODER_MARGIN = 2 * DECODER_MULTIPLE
"""Pixels that the decoder sees beyond a border at least: what is left of a seam is as faint as rounding."""

ENCODER_MARGIN = 4 * LATENT_SCALE
"""Pixels that the encoder's convolutions reach to, and no further."""


@dataclass(frozen=True)
class Repeated:
    """A picture of height x width pixels with at least `margin` more at each side, in all a multiple."""

    height: int
    width: int
    margin: int
    multiple: int = 1

    def _span(self, side: int, scale: int) -> range:
        end = -(-(side + 2 * self.margin) // self.multiple) * self.multiple - self.margin
        return range(-self.margin // scale, end // scale)

    def picture(self, picture: Uint8Image) -> Uint8Image:
        """Return [H, W, channels] with its margin."""
        rows, columns = (np.array(self._span(side, 1)) % side for side in (self.height, self.width))
        return np.ascontiguousarray(picture[rows[:, None], columns])

    def latent(self, latent: Tensor) -> Tensor:
        """Return [4, H/8, W/8] with its margin."""
        rows, columns = (
            torch.tensor(self._span(side, LATENT_SCALE), device=latent.device) % (side // LATENT_SCALE)
            for side in (self.height, self.width)
        )
        return latent[:, rows[:, None], columns]

    def cut(self, result: FloatImage) -> FloatImage:
        """Return what [H', W', channels] has without its margin."""
        rows, columns = (slice(self.margin, self.margin + side) for side in (self.height, self.width))
        return result[rows, columns]

    def cut_latent(self, offset: Tensor) -> Tensor:
        """Return what [1, 4, h', w'] has without its margin, [1, 4, ceil(H/8), ceil(W/8)]."""
        first = self.margin // LATENT_SCALE
        rows, columns = (slice(first, first + -(-side // LATENT_SCALE)) for side in (self.height, self.width))
        return offset[..., rows, columns]


def decode(
    run: Callable[[Tensor, Uint8Image], FloatImage], latent: Tensor, picture: Uint8Image
) -> FloatImage:
    """Do as `run(latent, picture)`, which decodes a picture [H, W, 3] and its latent [4, H/8, W/8]."""
    height, width = picture.shape[:2]
    if (height, width) != tuple(LATENT_SCALE * side for side in latent.shape[-2:]):
        # a latent that cannot be aligned with the picture cannot go on with it either
        return run(latent, picture)
    repeated = Repeated(height, width, DECODER_MARGIN, DECODER_MULTIPLE)
    return repeated.cut(run(repeated.latent(latent), repeated.picture(picture)))


def encode(run: Callable[[Uint8Image], Tensor], rgba: Uint8Image) -> Tensor:
    """Do as `run(rgba)`, which gives the latent offset of a picture [H, W, 4]."""
    height, width = rgba.shape[:2]
    repeated = Repeated(height, width, ENCODER_MARGIN)
    return repeated.cut_latent(run(repeated.picture(rgba)))
