"""The WebUI this runs in."""

from __future__ import annotations

from importlib.util import find_spec

from lib_layerdiffusion.errors import IncompatibleHost
from lib_layerdiffusion.hosts.base import Host


def _has(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def detect() -> Host:
    """Return the adapter of the WebUI that is running. Raises IncompatibleHost on one without an adapter."""
    if _has("backend.patcher.base"):
        try:
            from lib_layerdiffusion.hosts.forge import ForgeHost
        except ImportError as error:
            raise IncompatibleHost(
                f"LayerDiffuse does not know this version of Forge ({error}); update both, or report it."
            ) from error
        return ForgeHost()
    raise IncompatibleHost("LayerDiffuse runs on Stable Diffusion WebUI Forge; this WebUI is another one.")
