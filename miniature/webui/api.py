"""The part of a WebUI's web API that makes pictures, over the miniature: plain HTTP on the loopback."""

from __future__ import annotations

import base64
import copy
import io
import json
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from PIL import Image, PngImagePlugin

from lib_layerdiffusion.errors import LayerDiffuseError
from lib_layerdiffusion.hosts.forge_saving import is_ours, send_as_png
from lib_layerdiffusion.pictures.reading import open_picture
from lib_layerdiffusion.request.settings import ARGUMENTS
from miniature.webui.processing import Processing, WebUI

SCRIPT = "layerdiffuse"
FIELDS = (
    *("prompt", "negative_prompt", "seed", "steps", "width", "height", "cfg_scale"),
    *("batch_size", "n_iter"),
)


class Refused(Exception):
    """Answered with this status and sentence."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


Answer = Callable[[str, Mapping[str, Any]], Mapping[str, Any]]


def answer_with(choose: Callable[[Mapping[str, Any]], tuple[WebUI, Any]]) -> Answer:
    """Return what answers requests; `choose` gives the WebUI with the right checkpoint, and its script."""

    def answer(path: str, request: Mapping[str, Any]) -> Mapping[str, Any]:
        if path not in ("/sdapi/v1/txt2img", "/sdapi/v1/img2img"):
            raise Refused(404, "Not Found")
        webui, script = choose(request)
        fields = {name: request[name] for name in FIELDS if name in request}
        if path.endswith("img2img"):
            fields["init_images"] = [decoded(text) for text in request["init_images"]]
            fields["denoising_strength"] = request.get("denoising_strength", 0.75)
            if request.get("mask"):
                fields["image_mask"] = decoded(request["mask"]).convert("L")
        # as when a WebUI has started
        script.handlers.host.app_started(None, Api)
        sent = SimpleNamespace(alwayson_scripts=copy.deepcopy(request.get("alwayson_scripts", {})))
        defaults = [default for _, default in ARGUMENTS]
        try:
            args = Api().init_script_args(sent, defaults)
        except LayerDiffuseError as error:
            raise Refused(error.status_code, error.detail) from error
        p = Processing(webui, scripts=[script], script_args=args, **fields)
        p.is_api = True
        p.do_not_save_samples = p.do_not_save_grid = not request.get("save_images", False)
        script.handlers.host.settings = dict(request.get("override_settings", {}))
        try:
            result = webui.answer(p, *_chosen(script, request))
        except LayerDiffuseError as error:
            raise Refused(error.status_code, error.detail) from error
        finally:
            script.handlers.host.settings = {}
        send = send_as_png(is_ours, partial(encode_pil_to_base64, samples_format=webui.samples_format))
        images = [send(image).decode() for image in [*result.images, *result.extra_images]]
        return {"images": images, "info": result.js()}

    return answer


def _chosen(script: Any, request: Mapping[str, Any]) -> tuple[Any, ...]:
    """What runs the request's jobs and its arguments, if it names a script of the list."""
    name = request.get("script_name") or ""
    if not name:
        return ()
    if name.lower() != script.layers.title().lower():
        raise Refused(422, f"Script '{name}' not found")
    return script.layers.run, *request.get("script_args", [])


class Api:
    """Reads the scripts' arguments by their number, as hosts do."""

    def init_script_args(self, request: Any, defaults: list[Any]) -> list[Any]:
        """The script's arguments: those given, then the defaults of the rest."""
        values = list(defaults)
        for name, script in request.alwayson_scripts.items():
            if name.lower() != SCRIPT:
                raise Refused(422, f"always on script {name} not found")
            if "args" in script:
                for number in range(min(len(values), len(script["args"]))):
                    values[number] = script["args"][number]
        return values


def encode_pil_to_base64(image: Image.Image, samples_format: str) -> bytes:
    """As hosts send pictures: PNG, and JPEG without alpha; what else may be saved is an error."""
    buffer = io.BytesIO()
    if samples_format == "png":
        metadata = PngImagePlugin.PngInfo()
        for key, value in image.info.items():
            metadata.add_text(key, value)
        image.save(buffer, "PNG", pnginfo=metadata)
    elif samples_format in ("jpg", "jpeg"):
        image.convert("RGB").save(buffer, "JPEG")
    else:
        raise RuntimeError("Invalid image format")
    return base64.b64encode(buffer.getvalue())


def encoded(image: Image.Image) -> str:
    """PNG in base64, as pictures are given in requests."""
    return encode_pil_to_base64(image, "png").decode()


def decoded(text: str) -> Image.Image:
    return open_picture(base64.b64decode(text.rpartition(",")[2]))


def nothing_to_see(path: str, query: Mapping[str, str]) -> Any:
    raise Refused(404, "Not Found")


@contextmanager
def serve(
    answer: Answer,
    look: Callable[[str, Mapping[str, str]], Any] = nothing_to_see,
    auth: str = "",
    tls: ssl.SSLContext | None = None,
) -> Iterator[str]:
    """Serve on a free port while the block runs; gives the address.

    `look` answers what is asked without a body; `auth` is "user:password" where these are asked for.
    """
    wanted = f"Basic {base64.b64encode(auth.encode()).decode()}" if auth else None

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            self._answer(lambda: look(parts.path, dict(parse_qsl(parts.query))))

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self._answer(lambda: answer(self.path, json.loads(body)))

        def _answer(self, compute: Callable[[], Any]) -> None:
            result: Any
            try:
                if wanted not in (None, self.headers["Authorization"]):
                    raise Refused(401, "Incorrect username or password")
                status, result = 200, compute()
            except Refused as refused:
                status, result = refused.status, {"error": "LayerDiffuseError", "detail": refused.detail}
            except Exception as error:
                status, result = 500, {"error": type(error).__name__, "detail": "", "errors": str(error)}
            text = json.dumps(result).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield f"http{'s' if tls else ''}://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
