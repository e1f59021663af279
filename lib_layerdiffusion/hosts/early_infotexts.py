"""Infotexts of hosts that write them right after sampling: told anew where finishing a picture changes them.

Other hosts write a picture's infotext when it is finished.
"""

from __future__ import annotations

import weakref
from typing import Any

_PAIRS = "_layerdiffuse_infotexts"


def change(p: Any, written: str, anew: str) -> None:
    """Have one of the infotexts of the host's job `p` be another from now on."""
    if written != anew:
        setattr(p, _PAIRS, (weakref.ref(p), {**_changed(p), written: anew}))


def current(p: Any, text: str) -> str:
    """Return what an infotext of the job is now; what other scripts added to its end stays."""
    for written, anew in _changed(p).items():
        if text.startswith(written):
            return anew + text.removeprefix(written)
    return text


def tell(p: Any, processed: Any) -> None:
    """Bring the infotexts of a job's result up to date, and those in its pictures."""
    if not _changed(p):
        return
    processed.infotexts = [current(p, text) for text in processed.infotexts]
    processed.info = processed.infotexts[0]
    for picture in processed.images:
        info = getattr(picture, "info", {})
        if isinstance(info.get("parameters"), str):
            info["parameters"] = current(p, info["parameters"])


def before_image_saved(params: Any) -> None:
    """Host callback: the file gets the infotext as it is now."""
    text = (params.pnginfo or {}).get("parameters")
    if isinstance(text, str) and params.p is not None:
        params.pnginfo["parameters"] = current(params.p, text)


def _changed(p: Any) -> dict[str, str]:
    owner, pairs = getattr(p, _PAIRS, (None, {}))
    return dict(pairs) if owner is not None and owner() is p else {}
