"""The trained family, as tests ask for its pictures."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from miniature.webui.demo import Trained


@contextmanager
def few_passes(trained: Trained) -> Iterator[None]:
    """Decode transparency in two passes, which take a quarter of the time."""
    trained.host.settings["layerdiffuse_decode_passes"] = 2
    try:
        yield
    finally:
        del trained.host.settings["layerdiffuse_decode_passes"]
