"""A hub on this machine that can break off, refuse, be busy, be slow, and send something else."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from lib_layerdiffusion.files.download import LATEST
from lib_layerdiffusion.weight_files import ANIMA_RGBA, LAYERDIFFUSION

REPOSITORIES = (LAYERDIFFUSION.name, ANIMA_RGBA.name)


@dataclass
class Hub:
    """The files by their place in any repository, and how the next answers go wrong. Like the real one it
    sends files from another host.

    `cuts`: each download is broken off after so many bytes, the first number first. `statuses`: the next
    requests are answered with these. `altered`: what is sent in place of a file. `pause`: seconds between
    pieces of `piece` bytes. `revisions`: the ones that exist. Without `names_content` no hashes are sent, but
    `etag`, if anything; without `announces_size` then nothing says how long a file is before it comes.
    `first`: this byte is the first of every answer to a request for a part.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    cuts: list[int] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    altered: dict[str, bytes] = field(default_factory=dict)
    ignores_range: bool = False
    names_content: bool = True
    etag: str = 'W/"1234-mirror"'
    announces_size: bool = True
    first: int | None = None
    piece: int = 1 << 20
    pause: float = 0.0
    revisions: tuple[str, ...] = (LAYERDIFFUSION.revision, LATEST)
    endpoint: str = ""
    storage: str = ""
    requests: list[str] = field(default_factory=list)
    tokens: set[str | None] = field(default_factory=set)

    @property
    def downloads(self) -> list[str]:
        return [request for request in self.requests if request.startswith("GET /elsewhere")]

    def answer(self, request: Any, with_body: bool) -> None:
        path = request.path
        self.requests.append(f"{request.command} {path} {request.headers.get('Range', '')}".strip())
        self.tokens.add(request.headers.get("Authorization"))
        if self.statuses:
            self.send(request, self.statuses.pop(0), {}, b"")
            return
        if path.startswith("/elsewhere/"):
            self.send_file(request, path.removeprefix("/elsewhere/"), with_body)
            return
        prefix, _, rest = path.partition("/resolve/")
        revision, _, name = rest.partition("/")
        body = self.files.get(name)
        if prefix.lstrip("/") not in REPOSITORIES or body is None or revision not in self.revisions:
            code = "EntryNotFound" if revision in self.revisions else "RevisionNotFound"
            self.send(request, 404, {"X-Error-Code": code}, b"")
            return
        headers = {"X-Repo-Commit": LAYERDIFFUSION.revision, "Location": f"{self.storage}/elsewhere/{name}"}
        if self.names_content:
            headers |= {
                "X-Linked-Etag": f'"{hashlib.sha256(body).hexdigest()}"',
                "X-Linked-Size": str(len(body)),
            }
        else:
            headers |= {"ETag": self.etag} if self.etag else {}
            headers |= {"X-Linked-Size": str(len(body))} if self.announces_size else {}
        self.send(request, 302, headers, b"")

    def send_file(self, request: Any, name: str, with_body: bool) -> None:
        body = self.altered.get(name, self.files[name])
        asked = request.headers.get("Range")
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and not self.ignores_range else 0
        start = start if self.first is None or not start else self.first
        status = 206 if start else 200
        headers = {"Content-Range": f"bytes {start}-{len(body) - 1}/{len(body)}"} if start else {}
        self.send(request, status, headers, body[start:] if with_body else b"", len(body) - start)

    def send(
        self, request: Any, status: int, headers: dict[str, str], body: bytes, length: int | None = None
    ) -> None:
        request.send_response(status)
        for key, value in headers.items():
            request.send_header(key, value)
        request.send_header("Content-Length", str(len(body) if length is None else length))
        request.end_headers()
        cut = self.cuts.pop(0) if body and self.cuts else len(body)
        for start in range(0, cut, self.piece):
            request.wfile.write(body[start : min(start + self.piece, cut)])
            request.wfile.flush()
            time.sleep(self.pause)
        if cut < len(body):
            request.close_connection = True


@contextlib.contextmanager
def serve() -> Iterator[Hub]:
    hub = Hub()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            hub.answer(self, with_body=False)

        def do_GET(self) -> None:
            # whoever asked may hang up, which is what some tests are about
            with contextlib.suppress(ConnectionError):
                hub.answer(self, with_body=True)

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    hub.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    hub.storage = f"http://localhost:{server.server_address[1]}"
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
