"""The layered file of a scene that one batch made: written when the host has saved the last of its layers."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lib_layerdiffusion.pictures.arithmetic import Uint8Image
from lib_layerdiffusion.pictures.layer_files import write_layer_file
from lib_layerdiffusion.pictures.stack import Layer, Stack
from lib_layerdiffusion.request.options import Options

logger = logging.getLogger("layerdiffuse")

SCENE = "layerdiffuse_scene"
ORDER = ("background", "blended", "foreground")
"""Bottom first. The blended picture is what the model made of both: a hidden layer."""


class SceneFiles:
    """The layers of one scene by name; `given` are those that it was made from, `awaited` the others."""

    def __init__(self, given: Mapping[str, Uint8Image], awaited: Sequence[str]) -> None:
        self._pictures = dict(given)
        self._awaited = set(awaited)
        self._stem: Path | None = None

    def await_picture(self, picture: Image.Image, layer: str) -> None:
        """Have `picture` bring its layer in when it is saved."""
        setattr(picture, SCENE, (self, layer))

    def saved(self, layer: str, picture: Image.Image, stem: Path, options: Options) -> list[Path]:
        """Take a layer in; with the last one, write the layered files, and return them.

        `stem` is the layer's path without name and ending; the first one's is that of the files.
        """
        self._stem = self._stem or stem
        self._pictures[layer] = np.array(picture.convert("RGBA"))
        self._awaited.discard(layer)
        if self._awaited or not options.layer_files:
            return []
        height, width = self._pictures[layer].shape[:2]
        layers = [
            Layer(name, self._pictures[name], visible=name != "blended")
            for name in ORDER
            if name in self._pictures
        ]
        stack = Stack(width, height, layers).cropped()
        written = []
        for kind in options.layer_files:
            path = self._stem.with_name(f"{self._stem.name}.{kind}")
            path.write_bytes(write_layer_file(stack, kind))
            written.append(path)
        return written


def follow(params: Any, stem: Path, options: Options) -> None:
    """Host callback: `params.image` is about to be written; `stem` is its path without layer and ending."""
    scene, layer = getattr(params.image, SCENE, (None, ""))
    if scene is None:
        return
    try:
        for path in scene.saved(layer, params.image, stem, options):
            say = getattr(params.p, "comment", None)
            if say is not None:
                say(f"Layers: {path}")
    # the pictures themselves are there
    except Exception:
        logger.warning("The layered file of a scene could not be written.", exc_info=True)
