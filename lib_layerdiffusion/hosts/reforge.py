"""reForge (package `ldm_patched` of 2025, gradio 3)."""

from __future__ import annotations

from ldm_patched.modules import weight_adapter
from ldm_patched.modules.model_patcher import ModelPatcher

from lib_layerdiffusion.hosts.capabilities import Capabilities
from lib_layerdiffusion.hosts.ldm_patched import LdmPatchedHost
from lib_layerdiffusion.hosts.weight_adapters import WeightAdapters, loads_completely


class ReforgeHost(WeightAdapters, LdmPatchedHost):
    """Implements `hosts.base.Host`."""

    name = "reForge"
    capabilities = Capabilities(webui="reForge", tested="1.0.0v2-v1.10.1RC, commit 3b56b268")

    api_answers_extra_images = False
    make_patcher = loads_completely(ModelPatcher)
    lora_adapter = weight_adapter.LoRAAdapter
