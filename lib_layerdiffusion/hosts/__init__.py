"""The WebUI this runs in."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

from lib_layerdiffusion.errors import IncompatibleHost

if TYPE_CHECKING:
    from lib_layerdiffusion.hosts.base import Host


@dataclass(frozen=True)
class Adapter:
    """Where an adapter is, and how its host is known.

    WebUIs of a family have something in common, which is what the adapter works with: `has`, in `module`.
    Within a family they are told apart by what they call their own version, which matches `named`.
    """

    file: str
    host: str
    webui: str
    module: str
    has: str
    named: str

    def fits(self) -> bool:
        module = sys.modules.get(self.module)
        return module is not None and _has(module, self.has)

    def is_named(self, version: str | None) -> bool:
        return version is not None and re.search(self.named, version) is not None


# A family's first adapter is also the one for those of its WebUIs that no adapter is named for. Some had
# Forge's loader of LoRAs yet when they took over ComfyUI's patcher; the patcher counts.
ADAPTERS = (
    Adapter("neo", "NeoHost", "Forge Neo", "backend.patcher.base", "ModelPatcher.partially_load", "neo"),
    Adapter("forge", "ForgeHost", "Forge", "backend.patcher.lora", "LoraLoader", r"^f?2\.0\.\d+v"),
    Adapter("ersatz", "ErsatzHost", "ersatzForge", "backend.patcher.lora", "LoraLoader", "ersatz"),
    Adapter(
        "classic",
        "ClassicHost",
        "Forge Classic",
        "ldm_patched.modules.model_management",
        "unload_model_clones",
        r"^(classic|f?0\.0\.\d+v)",
    ),
    Adapter(
        "reforge",
        "ReforgeHost",
        "reForge",
        "ldm_patched.modules.model_patcher",
        "ModelPatcher.partially_load",
        r"^f?1\.0\.0v2",
    ),
)

FAMILY = ("backend.patcher.base", "ldm_patched.modules.model_patcher")
"""Modules of which every WebUI of the Forge family has one."""


def _has(module: ModuleType, dotted: str) -> bool:
    found: object = module
    for name in dotted.split("."):
        if not hasattr(found, name):
            return False
        found = getattr(found, name)
    return True


def choose(fits: Callable[[Adapter], bool], version: str | None) -> Adapter | None:
    """Return the adapter of the WebUI that calls itself `version`, None where none fits."""
    first = next(filter(fits, ADAPTERS), None)
    if first is None:
        return None
    family = [one for one in ADAPTERS if (one.module, one.has) == (first.module, first.has)]
    return next((one for one in family if one.is_named(version)), first)


def of(file: str) -> Adapter:
    """Return the adapter in a file of this package. Raises LookupError."""
    return next(one for one in ADAPTERS if one.file == file)


def version() -> str | None:
    """Return what the WebUI that is running calls its version."""
    found = getattr(sys.modules.get("modules_forge.forge_version"), "version", None)
    return None if found is None else str(found)


def current() -> str | None:
    """Return the adapter that fits the WebUI that is running, None where none does."""
    adapter = choose(Adapter.fits, version())
    return None if adapter is None else adapter.file


def detect() -> Host:
    """Return the adapter of the WebUI that is running. Raises IncompatibleHost on one without an adapter.

    Hosts have their own packages loaded long before a script; nothing is imported to find out.
    """
    adapter = choose(Adapter.fits, version())
    if adapter is not None:
        try:
            module = import_module(f"lib_layerdiffusion.hosts.{adapter.file}")
        except (ImportError, AttributeError) as error:
            raise IncompatibleHost(
                f"LayerDiffuse does not know this version of {adapter.webui} ({error}); update both, or "
                "report it."
            ) from error
        host: Host = getattr(module, adapter.host)()
        return host
    if any(name in sys.modules for name in FAMILY):
        raise IncompatibleHost(
            f"This WebUI is of the Forge family, but LayerDiffuse does not know this version of it "
            f"({version() or 'without a name'}); update both, or report it."
        )
    supported = ", ".join(one.webui for one in ADAPTERS)
    raise IncompatibleHost(
        f"LayerDiffuse runs on WebUIs of the Forge family ({supported}), and this is another: it has no way "
        "to change a model for one picture. Install one of those, and this extension there."
    )
