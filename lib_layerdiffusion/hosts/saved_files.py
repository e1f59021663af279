"""The newest pictures that the WebUI has saved, as their files are: for whoever checks that nothing is lost.

Paths and a number are all that is kept, and no path is told.
"""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from lib_layerdiffusion.hosts import left_out

KEPT = 16


class _Saved(NamedTuple):
    number: int
    path: Path


_saved: deque[_Saved] = deque(maxlen=KEPT)
_count = 0


def remembered(save: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a host's `save_image`; what stands in for a picture is not saved at all."""
    save = left_out.unsaved(save)

    def save_image(*args: Any, **kwargs: Any) -> Any:
        global _count
        result = save(*args, **kwargs)
        path = result[0] if isinstance(result, tuple) and result else None
        if path:
            _count += 1
            _saved.append(_Saved(_count, Path(path)))
        return result

    return save_image


def newest() -> list[dict[str, Any]]:
    """Return number, kind, mode, size and CRC-32 of the pixels of each.

    One that cannot be read has its number alone.
    """
    return [{"number": saved.number, **_told(saved.path)} for saved in list(_saved)]


def _told(path: Path) -> dict[str, Any]:
    try:
        with Image.open(path) as picture:
            pixels = picture.tobytes()
            return {
                "kind": picture.format or "",
                "mode": picture.mode,
                "size": list(picture.size),
                "crc": zlib.crc32(pixels),
            }
    # it may be gone, or of a format that only the host reads
    except Exception:
        return {}
