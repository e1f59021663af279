"""What stands at the place of a picture that could not be made, while the host goes on with the others.

Hosts swallow what a hook raises, and would deliver the ordinary picture instead. So the hook hands out one
of these. It is neither saved nor laid into a grid, and is taken out of the result at the end of the job.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from PIL import Image

from lib_layerdiffusion.errors import LayerDiffuseError


class Undeliverable:
    """Stands for something that does not exist; whoever uses it, in whatever way, gets the error."""

    def __init__(self, error: LayerDiffuseError) -> None:
        self.error = error

    def __getattr__(self, name: str) -> Any:
        # looked up so that an object without one, as copying makes it, is no endless search
        raise object.__getattribute__(self, "error")

    def _refuse(self, *args: Any, **kwargs: Any) -> Any:
        raise self.error

    __call__ = __add__ = __radd__ = __iter__ = __len__ = __bool__ = __getitem__ = _refuse


class LeftOut(Undeliverable):
    """Picture number `index` of a job, counted from 0.

    It has a size, and room for an infotext, since hosts ask for these; whatever else other scripts do with it
    is an error, which hosts log.
    """

    def __init__(self, error: LayerDiffuseError, index: int, size: tuple[int, int]) -> None:
        super().__init__(error)
        self.index = index
        self.size, self.width, self.height = size, *size
        self.info: dict[str, Any] = {}

    def empty(self) -> Image.Image:
        """Return a picture of the size with nothing in it."""
        return Image.new("RGBA", self.size)


def unsaved(save: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a host's `save_image`."""

    def save_image(image: Any, *args: Any, **kwargs: Any) -> Any:
        return (None, None) if isinstance(image, LeftOut) else save(image, *args, **kwargs)

    return save_image


def empty_in_grids(lay_out: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a host's `image_grid`: the place stays empty; a grid of nothing else is left out as well."""

    def image_grid(imgs: Sequence[Any], *args: Any, **kwargs: Any) -> Any:
        if imgs and all(isinstance(image, LeftOut) for image in imgs):
            return imgs[0]
        cells = [image.empty() if isinstance(image, LeftOut) else image for image in imgs]
        return lay_out(cells, *args, **kwargs)

    return image_grid
