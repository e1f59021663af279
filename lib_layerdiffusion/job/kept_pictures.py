"""The init pictures of a job whose model knows nothing of transparency: it gets its alpha back in the end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from PIL import Image

from lib_layerdiffusion.errors import BadPicture
from lib_layerdiffusion.job.init_pictures import InitPictures
from lib_layerdiffusion.pictures import backdrop
from lib_layerdiffusion.pictures.arithmetic import FloatImage, Uint8Image
from lib_layerdiffusion.pictures.moved_edges import follow


class KeptPictures(InitPictures):
    """The host sees them on a backdrop. Nothing of a latent is touched, so that any model will do."""

    def _shown(self, picture: Image.Image) -> Image.Image:
        rgba = np.asarray(picture)
        self._check(rgba)
        return Image.fromarray(backdrop.laid_on(rgba, self._behind(rgba)))

    @contextmanager
    def _encodes(self) -> Iterator[None]:
        # hosts draw from what the VAE says by chance; with a seed, the same request gives the same picture
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            torch.manual_seed(int(self._p.all_seeds[0]))
            yield

    def _check(self, rgba: Uint8Image) -> None:
        run = self._host.script_run()
        if run is not None and run.in_tiles:
            # of a picture that is transparent somewhere else
            return
        label = self._generation.method.label
        if rgba[..., 3].min() == 255:
            raise BadPicture(
                f'The init picture has no transparency that "{label}" could keep; give a PNG with some, or '
                "switch LayerDiffuse off."
            )
        if rgba[..., 3].max() == 0:
            raise BadPicture("The init picture is empty: all of it is transparent; give another.")

    def _behind(self, rgba: Uint8Image) -> FloatImage:
        colour = self._generation.settings.keep.behind
        if colour is None:
            return backdrop.bled(rgba)
        return backdrop.plain(colour, rgba.shape[0], rgba.shape[1])

    def repainted(self, painted: Uint8Image, position: int) -> Uint8Image:
        """Return what was made of the picture at a position of the batch, RGB or RGBA [H, W, C], as RGBA.

        An alpha that it came with is an upper bound.
        """
        height, width = painted.shape[:2]
        picture = self._pictures[self._number(position)]
        behind = Image.fromarray(np.rint(self._behind(np.asarray(picture))).astype(np.uint8))
        rgba, under = (np.array(self._as_encoded(one, height, width)) for one in (picture, _opaque(behind)))
        below = under[..., :3].astype(np.float32)
        colours = np.ascontiguousarray(painted[..., :3])
        alpha = follow(
            np.ascontiguousarray(rgba[..., 3]),
            backdrop.laid_on(rgba, below),
            colours,
            self._generation.settings.keep.follow,
            float(self._p.denoising_strength),
        )
        if painted.shape[2] == 4:
            alpha = np.minimum(alpha, painted[..., 3])
        return backdrop.taken_off(colours, alpha, below)


def _opaque(picture: Image.Image) -> Image.Image:
    return picture.convert("RGBA")
