"""Runs scripts/forge_layerdiffusion.py, the very file that hosts load, in the miniature WebUI."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from lib_layerdiffusion import hosts
from lib_layerdiffusion.hosts.base import Host

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "forge_layerdiffusion.py"
CALLBACKS = (
    "on_after_component",
    "on_ui_settings",
    "on_before_ui",
    "on_infotext_pasted",
    "on_app_started",
    "on_before_image_saved",
    "on_cfg_denoiser",
)


class Script:
    """Base class of scripts, as far as ours uses it."""

    def on_cfg_denoiser(self, params: Any) -> None:
        """What it registered to be called before each step; nothing for one that cannot run."""

    def on_before_image_saved(self, params: Any) -> None:
        """The same for before a picture is written."""

    def elem_id(self, name: str) -> str:
        title = re.sub(r"[^a-z0-9]+", "_", self.title().lower())
        return f"script_txt2img_{title}_{name}"

    def title(self) -> str:
        raise NotImplementedError


def _host_modules(registered: dict[str, Callable[..., Any]]) -> dict[str, ModuleType]:
    modules, scripts, callbacks = (
        ModuleType(name) for name in ("modules", "modules.scripts", "modules.script_callbacks")
    )
    scripts.Script, scripts.AlwaysVisible = Script, object()  # type: ignore[attr-defined]
    for name in CALLBACKS:
        setattr(callbacks, name, partial(registered.__setitem__, name))
    modules.scripts, modules.script_callbacks = scripts, callbacks  # type: ignore[attr-defined]
    return {module.__name__: module for module in (modules, scripts, callbacks)}


def load_script(detect: Callable[[], Host]) -> Any:
    """Return an object of the script's class; `detect` stands in for `hosts.detect`.

    Its `callbacks` are what it registered with the host, by the host's name for them; its `layers` is the
    script of the list that comes with it.
    """
    registered: dict[str, Callable[..., Any]] = {}
    added = _host_modules(registered)
    shadowed = {name: sys.modules[name] for name in added if name in sys.modules}
    own = hosts.detect
    sys.modules.update(added)
    hosts.detect = detect
    try:
        spec = importlib.util.spec_from_file_location("forge_layerdiffusion.py", SCRIPT)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        hosts.detect = own
        for name in added:
            sys.modules.pop(name, None)
        sys.modules.update(shadowed)
    script = module.LayerDiffuse()
    script.callbacks = registered
    script.layers = module.LayerDiffuseLayers()
    for name in ("on_cfg_denoiser", "on_before_image_saved"):
        if name in registered:
            setattr(script, name, registered[name])
    return script
