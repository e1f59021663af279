"""The Extras tab of AUTOMATIC1111's family, as far as finishing needs it: its web API and its batches."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from PIL import Image

from lib_layerdiffusion.hosts.forge_saving import mark
from lib_layerdiffusion.hosts.wrapping import wrap

PATHS = ("/sdapi/v1/extra-single-image", "/sdapi/v1/extra-batch-images")
KEY = "layerdiffuse"
FOLDER_MODE = 2
"""The number of the tab "Batch from Directory"."""

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
App = Callable[[Any, Receive, Any], Awaitable[None]]
Sheet = tuple[Image.Image, dict[str, Any]]
"""An atlas with its description."""

_asked: ContextVar[Any] = ContextVar("layerdiffuse_extras", default=None)
_sprites: ContextVar[dict[str, Image.Image] | None] = ContextVar("layerdiffuse_sprites", default=None)


def asked() -> Any:
    """What the request at hand has under "layerdiffuse"; None where it has nothing, or the page asked."""
    return _asked.get()


def keep(picture: Image.Image) -> None:
    """Have a picture saved, shown and sent with its transparency."""
    mark(picture)


def add_sprite(picture: Image.Image) -> None:
    """Remember a finished picture, by the name of its file where it has one, for the atlas of its batch."""
    from modules import shared

    sprites = _sprites.get()
    if sprites is not None:
        name = Path(str(shared.state.textinfo or "")).name or f"{len(sprites) + 1}.png"
        while name in sprites:
            name = f"{Path(name).stem}-{len(sprites) + 1}.png"
        sprites[name] = picture


def install(app: Any, make_atlas: Callable[[dict[str, Image.Image], str], Sheet]) -> None:
    """Read requests of the web API, and make an atlas of what a batch remembered. Call when both exist."""
    from modules import postprocessing

    for route in getattr(app, "routes", ()):
        if getattr(route, "path", "") in PATHS and not hasattr(route, "layerdiffuse_extras"):
            route.app = _reading(route.app)
            route.layerdiffuse_extras = True
    wrap(postprocessing, "run_postprocessing", lambda original: _with_atlas(original, make_atlas))


def _reading(inner: App) -> App:
    async def read(scope: Any, receive: Receive, send: Any) -> None:
        messages, more = [], True
        while more:
            message = await receive()
            messages.append(message)
            more = bool(message.get("more_body"))
        given = _under_key(b"".join(message.get("body", b"") for message in messages))

        async def again() -> Message:
            return messages.pop(0) if messages else await receive()

        token = _asked.set(given)
        try:
            await inner(scope, again, send)
        finally:
            _asked.reset(token)

    return read


def _under_key(body: bytes) -> Any:
    try:
        request = json.loads(body)
    except ValueError:
        return None
    if not isinstance(request, Mapping):
        return None
    return next((value for key, value in request.items() if key.lower() == KEY), None)


def _with_atlas(
    original: Callable[..., Any], make_atlas: Callable[[dict[str, Image.Image], str], Sheet]
) -> Callable[..., Any]:
    def run_postprocessing(
        extras_mode: Any,
        image: Any,
        image_folder: Any,
        input_dir: Any,
        output_dir: Any,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        token = _sprites.set({})
        try:
            result = original(extras_mode, image, image_folder, input_dir, output_dir, *args, **kwargs)
            sprites = _sprites.get()
        finally:
            _sprites.reset(token)
        if not sprites:
            return result
        outputs, info, *rest = result
        folder = output_dir if extras_mode == FOLDER_MODE else ""
        sheet, told = _saved(sprites, folder, make_atlas, kwargs.get("save_output", True))
        return ([*outputs, sheet], f"{info}<p>{told}</p>", *rest)

    return run_postprocessing


def _saved(
    sprites: dict[str, Image.Image], folder: str, make_atlas: Callable[..., Sheet], saves: bool
) -> tuple[Image.Image, str]:
    from modules import images, shared

    sheet, description = make_atlas(sprites, "")
    mark(sheet)
    if not saves:
        # the web API saves nothing: its answer has the description
        return sheet, json.dumps(description)
    path = folder or shared.opts.outdir_samples or shared.opts.outdir_extras_samples
    saved, _ = images.save_image(sheet, path=path, basename="atlas", extension="png", short_filename=True)
    description["meta"]["image"] = Path(saved).name
    beside = Path(saved).with_suffix(".json")
    beside.write_text(json.dumps(description, indent=1, ensure_ascii=False), "utf-8")
    return sheet, f"{Path(saved).name} and {beside.name} are in {beside.parent}."
