"""The WebUI this runs in."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

from lib_layerdiffusion.errors import IncompatibleHost

if TYPE_CHECKING:
    from lib_layerdiffusion.hosts.base import Host


@dataclass(frozen=True)
class Adapter:
    """Where an adapter is, and how its host is known: what a loaded module of it has, and has not."""

    module: str
    host: str
    webui: str
    sign: str
    has: str = ""
    lacks: str = ""

    def fits(self) -> bool:
        module = sys.modules.get(self.sign)
        return (
            module is not None
            and (not self.has or _has(module, self.has))
            and (not self.lacks or not _has(module, self.lacks))
        )


ADAPTERS = (
    Adapter(
        "forge", "ForgeHost", "Forge", "backend.patcher.base", has="ModelPatcher.set_model_vae_regulation"
    ),
    Adapter(
        "neo", "NeoHost", "Forge Neo", "backend.patcher.base", lacks="ModelPatcher.set_model_vae_regulation"
    ),
    Adapter(
        "classic",
        "ClassicHost",
        "Forge Classic",
        "ldm_patched.modules.model_management",
        has="unload_model_clones",
    ),
    Adapter(
        "reforge",
        "ReforgeHost",
        "reForge",
        "ldm_patched.modules.model_management",
        lacks="unload_model_clones",
    ),
)


def _has(module: ModuleType, dotted: str) -> bool:
    found: object = module
    for name in dotted.split("."):
        if not hasattr(found, name):
            return False
        found = getattr(found, name)
    return True


def current() -> str | None:
    """Return the adapter that fits the WebUI that is running, None where none does."""
    return next((adapter.module for adapter in ADAPTERS if adapter.fits()), None)


def detect() -> Host:
    """Return the adapter of the WebUI that is running. Raises IncompatibleHost on one without an adapter.

    Hosts have their own packages loaded long before a script; nothing is imported to find out.
    """
    for adapter in ADAPTERS:
        if adapter.fits():
            try:
                module = import_module(f"lib_layerdiffusion.hosts.{adapter.module}")
            except (ImportError, AttributeError) as error:
                raise IncompatibleHost(
                    f"LayerDiffuse does not know this version of {adapter.webui} ({error}); update both, or "
                    "report it."
                ) from error
            host: Host = getattr(module, adapter.host)()
            return host
    supported = ", ".join(adapter.webui for adapter in ADAPTERS)
    raise IncompatibleHost(
        f"LayerDiffuse runs on WebUIs of the Forge family ({supported}), and this is another: it has no way "
        "to change a model for one picture. Install one of those, and this extension there."
    )
