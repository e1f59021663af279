"""Infotexts of pictures that hosts show beside a job's own.

Whatever is in the gallery needs an infotext at its place, or the Save button ends with an error and another
picture's settings are shown. Scripts that run several jobs put their pictures together, and their infotexts,
without the pictures beside them. So a picture brings its infotext along, and it is put in last of all, where
the result is told to page and web API.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lib_layerdiffusion.hosts.wrapping import wrap

TEXT = "layerdiffuse_infotext"


def give(processed: Any, picture: Any, text: str) -> None:
    """Have `picture`, among the extra pictures of a host's result, shown and saved with this infotext."""
    setattr(picture, TEXT, text)
    wrap(type(processed), "js", _told_with_all)


def _told_with_all(js: Callable[..., str]) -> Callable[..., str]:
    def told(self: Any, *args: Any, **kwargs: Any) -> str:
        if not any(hasattr(picture, TEXT) for picture in self.extra_images):
            return js(self, *args, **kwargs)
        own, count = self.infotexts, len(self.images)
        missing = [self.info] * (count - len(own))
        self.infotexts = [*own[:count], *missing, *(getattr(p, TEXT, self.info) for p in self.extra_images)]
        try:
            return js(self, *args, **kwargs)
        finally:
            self.infotexts = own

    return told
