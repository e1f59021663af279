"""All of the web API that a trial asks for, over the trained miniature."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from lib_layerdiffusion.methods import FAMILIES
from miniature.webui.api import SCRIPT, Refused, answer_with
from miniature.webui.demo import Trained
from miniature.webui.processing import WebUI

OPTIONS = "/sdapi/v1/options"


class Application:
    """Takes routes as FastAPI's does."""

    def __init__(self, *paths: str) -> None:
        self.routes: list[Any] = [
            SimpleNamespace(path=path, endpoint=None, dependencies=[]) for path in paths
        ]

    def add_api_route(self, path: str, endpoint: Callable[..., Any], **settings: Any) -> None:
        self.routes.append(SimpleNamespace(path=path, endpoint=endpoint, **settings))


class Site:
    """A WebUI with its web API, whose pictures go into the folder `outputs`.

    `loaded` and `installed` say whether LayerDiffuse is among its scripts, and in its list of extensions.
    """

    def __init__(self, trained: Trained, outputs: Path) -> None:
        self.trained = trained
        self.loaded = self.installed = self.enabled = True
        self.app = Application("/sdapi/v1/txt2img", "/sdapi/v1/img2img")
        self._outputs = outputs
        trained.script.callbacks["on_app_started"](None, self.app)
        self._answer = answer_with(self._choose)

    def _choose(self, request: Mapping[str, Any]) -> tuple[WebUI, Any]:
        self.trained.webui.outputs = self._outputs
        return self.trained.webui, self.trained.script

    def answer(self, path: str, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """Answer a request with a body."""
        if path != OPTIONS:
            return self._answer(path, request)
        families = {family.key: family for family in FAMILIES}
        if request["sd_model_checkpoint"] not in families:
            raise Refused(500, "model not found")
        self.trained.load(families[request["sd_model_checkpoint"]])
        return {}

    def look(self, path: str, query: Mapping[str, str]) -> Any:
        """Answer one without."""
        for route in self.app.routes:
            if route.path == path and route.endpoint is not None and self.loaded:
                return route.endpoint(**query)
        scripts = [SCRIPT] if self.loaded else []
        told = {
            "/internal/ping": {},
            "/sdapi/v1/scripts": {"txt2img": scripts, "img2img": scripts},
            "/sdapi/v1/extensions": [{"name": "sd-forge-layerdiffuse", "enabled": self.enabled}]
            * self.installed,
            OPTIONS: {"sd_model_checkpoint": self.trained.host.family},
            "/sdapi/v1/memory": {"ram": {"used": 2**30}, "cuda": {"error": "unavailable"}},
        }
        if path not in told:
            raise Refused(404, "Not Found")
        return told[path]
