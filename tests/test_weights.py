"""Weight files: local ones are used, missing ones are fetched from a hub (one on this machine)."""

from __future__ import annotations

import hashlib
import http.server
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from lib_layerdiffusion import weights
from lib_layerdiffusion.methods import WeightFile

ROOT = Path(__file__).resolve().parents[1]
FILE = WeightFile("layer_test", 1000)


class Hub(http.server.BaseHTTPRequestHandler):
    """As much of the hub as a download needs: a head request with the file's hash, and the file."""

    files: dict[str, bytes]
    requests: list[str]

    def do_HEAD(self) -> None:
        self.answer(with_body=False)

    def do_GET(self) -> None:
        self.answer(with_body=True)

    def answer(self, with_body: bool) -> None:
        self.requests.append(f"{self.command} {self.path}")
        body = self.files.get(self.path)
        self.send_response(200 if body is not None else 404)
        body = body or b""
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
        self.send_header("X-Repo-Commit", "0" * 40)
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def hub() -> Iterator[tuple[str, type[Hub]]]:
    handler = type("TestHub", (Hub,), {"files": {}, "requests": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}", handler
    server.shutdown()
    thread.join()
    server.server_close()


def ensure_in_a_process(models_dir: Path, endpoint: str) -> subprocess.CompletedProcess[str]:
    """The hub's address is read when huggingface_hub is imported, so each try has a process of its own."""
    code = (
        "import sys; from pathlib import Path; from lib_layerdiffusion import weights, methods, errors\n"
        "try: print(weights.ensure(methods.WeightFile('layer_test', 1000), Path(sys.argv[1])))\n"
        "except errors.LayerDiffuseError as error: print('refused:', error)"
    )
    env = {
        **os.environ,
        "HF_ENDPOINT": endpoint,
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HOME": str(models_dir / "home"),
        "NO_PROXY": "127.0.0.1",
    }
    return subprocess.run(
        [sys.executable, "-c", code, str(models_dir)],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        check=True,
    )


def test_missing_file_is_fetched_to_its_place(tmp_path: Path, hub: tuple[str, type[Hub]]) -> None:
    endpoint, handler = hub
    content = os.urandom(5000)
    handler.files[f"/{weights.REPOSITORY}/resolve/main/layer_test.safetensors"] = content
    place = tmp_path / "models dir" / "layer_model" / "layer_test.safetensors"
    assert ensure_in_a_process(tmp_path / "models dir", endpoint).stdout.strip() == str(place)
    assert place.read_bytes() == content
    handler.requests.clear()
    assert ensure_in_a_process(tmp_path / "models dir", endpoint).stdout.strip() == str(place)
    assert handler.requests == []


def test_a_file_the_hub_does_not_have(tmp_path: Path, hub: tuple[str, type[Hub]]) -> None:
    endpoint, _ = hub
    said = ensure_in_a_process(tmp_path, endpoint).stdout
    assert said.startswith("refused: layer_test.safetensors")
    assert "could not be downloaded" in said
    assert str(tmp_path / "layer_model") in said
    assert said.count("\n") == 1
    assert not (tmp_path / "layer_model" / "layer_test.safetensors").exists()


def test_local_file_is_used_as_it_is(tmp_path: Path) -> None:
    path = weights.locate(FILE, tmp_path)
    path.parent.mkdir()
    path.write_bytes(b"placed by hand")
    assert weights.ensure(FILE, tmp_path) == path


def test_shapes_come_from_the_header(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file({"a": torch.zeros(2, 3), "b": torch.zeros(())}, str(path))
    assert weights.shapes(path) == {"a": (2, 3), "b": ()}


def test_identity_tells_content(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(b"one")
    first = weights.identity(path)
    assert weights.identity(path) == first
    path.write_bytes(b"other")
    assert weights.identity(path) != first
