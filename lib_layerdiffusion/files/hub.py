"""What is asked of the hub, by the library that hosts have for it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from lib_layerdiffusion.files.source import Source
from lib_layerdiffusion.weight_files import WeightFile


@dataclass(frozen=True)
class Announced:
    """What the hub says before it sends: size in bytes (0: nothing), hash or another mark of the content.

    Without a mark ("") nobody can tell whether what it sends next belongs to what it sent before.
    """

    url: str
    size: int
    etag: str

    @property
    def sha256(self) -> str:
        return self.etag if re.fullmatch(r"[0-9a-f]{64}", self.etag) else ""


def ask(file: WeightFile, revision: str, source: Source, timeout: float) -> Announced:
    """Return what the hub says of a file, without getting it. Raises what the hub's library does."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    url = hf_hub_url(file.repository.name, file.path, revision=revision, endpoint=source.address)
    metadata = get_hf_file_metadata(url, timeout=timeout, **_login(source))
    return Announced(url, metadata.size or 0, (metadata.etag or "").strip('"'))


@contextmanager
def answer(
    url: str, start: int, source: Source, timeout: float, piece: int
) -> Iterator[tuple[int, Iterator[bytes]]]:
    """Ask for the bytes from `start` on: the number of the first that comes, and the bytes.

    `timeout` is in seconds without a byte; `piece` is how many bytes are handed on at once, if that is known.

    The session is huggingface_hub's, with its proxies and certificates. What is in it changed with its
    version 1 from requests to a relative of httpx; both are used by the methods that they have.
    """
    from huggingface_hub import get_session
    from huggingface_hub.utils import build_hf_headers, hf_raise_for_status

    headers = {
        **build_hf_headers(library_name="layerdiffuse-forge", **_login(source)),
        "Accept-Encoding": "identity",
    }
    if start:
        headers["Range"] = f"bytes={start}-"
    session = get_session()
    if callable(getattr(session, "stream", None)):
        with session.stream("GET", url, headers=headers, timeout=timeout) as got:
            hf_raise_for_status(got)
            yield _first(got, start), got.iter_bytes()
    else:
        with session.get(url, headers=headers, timeout=timeout, stream=True) as got:
            hf_raise_for_status(got)
            yield _first(got, start), got.iter_content(piece)


def _login(source: Source) -> dict[str, Any]:
    """Arguments of the hub's library that say who asks."""
    if source.authorization is None:
        return {"token": None if source.gets_token else False}
    return {"token": False, "headers": {"Authorization": source.authorization}}


def _first(answer: Any, start: int) -> int:
    if answer.status_code != 206:
        return 0
    sent = re.match(r"bytes (\d+)-", answer.headers.get("Content-Range", ""))
    return int(sent[1]) if sent else start
