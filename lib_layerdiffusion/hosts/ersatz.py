"""ersatzForge: Forge's main line, carried on."""

from __future__ import annotations

from lib_layerdiffusion.hosts.capabilities import Capabilities
from lib_layerdiffusion.hosts.forge import ForgeHost


class ErsatzHost(ForgeHost):
    """Implements `hosts.base.Host`."""

    name = "ersatzForge"
    capabilities = Capabilities(webui="ersatzForge", tested="f2.ersatz, commit fca12a2")
