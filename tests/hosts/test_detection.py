"""Which host this is, what is loaded in it, and how it is told what went wrong."""

from __future__ import annotations

import importlib
import inspect
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from lib_layerdiffusion import hosts
from lib_layerdiffusion.errors import IncompatibleHost, UnsupportedMethod
from tests.helpers import host_records
from tests.helpers.stub_hosts import BACKEND, VERSIONS, Stubbed

NAMES = {
    "forge": "Forge",
    "ersatz": "ersatzForge",
    "neo": "Forge Neo",
    "reforge": "reForge",
    "classic": "Forge Classic",
    "early_forge": "Forge of early 2024",
}


def test_each_host_gets_its_adapter(stubbed: Stubbed) -> None:
    assert stubbed.adapter.name == NAMES[stubbed.key]


def test_kinds_of_checkpoints_are_told_apart(stubbed: Stubbed) -> None:
    family = stubbed.adapter.base_model
    assert family(stubbed.job()).family == "sd15"
    unet = stubbed.unet()
    p = stubbed.job(unet, text_processing_engine_l=1, text_processing_engine_g=1)
    p.sd_model.is_sdxl = True
    if stubbed.key not in BACKEND:
        unet.model = stubbed.modules["ldm_patched.modules.model_base"].SDXL()
        unet.model.diffusion_model = SimpleNamespace(in_channels=4)
    assert family(p).family == "sdxl"
    refiner = stubbed.job(text_processing_engine_g=1)
    refiner.sd_model.is_sdxl = True
    assert (family(refiner).family, "refiner" in family(refiner).title) == ("", True)
    wide = stubbed.job()
    wide.sd_model.forge_objects.vae.latent_channels = 16
    assert family(wide).family == ""
    inpainting = stubbed.job(is_inpaint=True)
    inpainting.sd_model.forge_objects.unet.model.diffusion_model.in_channels = 9
    assert family(inpainting).inpainting
    assert not family(stubbed.job()).inpainting


@pytest.mark.parametrize("host", [host for host in host_records.HOSTS if host not in BACKEND])
def test_errors_reach_the_page(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """These hosts run a job in a thread that prints what it raises and hands out nothing."""
    stubbed = Stubbed(host, monkeypatch)
    main_thread = stubbed.modules["modules_forge.main_thread"]
    recorded = inspect.signature(main_thread.run_and_wait_result)

    def run_and_wait_result(func: Any, *args: Any, **kwargs: Any) -> Any:
        recorded.bind(func, *args, **kwargs)
        try:
            return func(*args, **kwargs)
        except Exception:
            return None

    def job(outcome: Any) -> Any:
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    main_thread.run_and_wait_result = run_and_wait_result
    stubbed.adapter.app_started(None, None)
    stubbed.adapter.app_started(None, None)
    assert main_thread.run_and_wait_result(job, "pictures") == "pictures"
    assert main_thread.run_and_wait_result(job, ValueError("another's")) is None
    with pytest.raises(UnsupportedMethod, match="ours"):
        main_thread.run_and_wait_result(job, UnsupportedMethod("ours"))


def test_a_host_that_changed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    stubbed = Stubbed("neo", monkeypatch)
    for name in [name for name in sys.modules if name.startswith("lib_layerdiffusion.hosts.")]:
        if name.rpartition(".")[2] not in ("base", "capabilities"):
            monkeypatch.delitem(sys.modules, name)
    del stubbed.modules["backend.sampling.sampling_function"].sampling_prepare
    with pytest.raises(IncompatibleHost, match=r"this version of Forge Neo \(.*sampling_prepare"):
        hosts.detect()


class Changed:
    """A host after updates: what a module has lost, what it has got, and what it calls itself since."""

    def __init__(self, host: str, monkeypatch: pytest.MonkeyPatch, version: str | None = None) -> None:
        self.modules = host_records.install(monkeypatch, host)
        self.modules["modules_forge.forge_version"].version = version or VERSIONS[host]


@pytest.mark.parametrize(
    ("host", "version", "adapter"),
    [
        ("forge", "3.0", "forge"),
        ("ersatz", "f3.ersatz", "ersatz"),
        ("ersatz", "another one", "forge"),
        ("neo", "3.1", "neo"),
        ("classic", "2027", "classic"),
        ("reforge", "3.0", "reforge"),
    ],
)
def test_a_host_without_a_known_name_gets_the_adapter_of_its_family(
    host: str, version: str, adapter: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Changed(host, monkeypatch, version)
    assert hosts.current() == adapter


def test_a_host_is_known_by_what_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not by what it lacks: what others remove makes it no other host."""
    modules = Changed("forge", monkeypatch).modules
    patcher = modules["backend.patcher.base"].ModelPatcher
    for name in ("lora_patches", "is_clone", "memory_required"):
        delattr(patcher, name)
    del modules["backend.memory_management"].unload_model_clones
    assert hosts.current() == "forge"
    # when Neo took over ComfyUI's patcher it had Forge's loader yet
    patcher.partially_load = lambda self, device_to: None
    assert hosts.current() == "neo"
    reforge = Changed("reforge", monkeypatch).modules
    del reforge["ldm_patched.modules.weight_adapter"]
    assert hosts.current() == "reforge"


@pytest.mark.parametrize("host", ["forge", "reforge"])
def test_a_host_of_the_family_that_lost_every_sign(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    modules = Changed(host, monkeypatch, "9.9").modules
    if host == "forge":
        del modules["backend.patcher.lora"].LoraLoader
    else:
        del modules["ldm_patched.modules.model_patcher"].ModelPatcher.partially_load
    assert hosts.current() is None
    with pytest.raises(IncompatibleHost, match=r"of the Forge family, .* this version of it \(9\.9\)"):
        hosts.detect()


def test_automatic1111_is_told_what_to_use(monkeypatch: pytest.MonkeyPatch) -> None:
    made = host_records.install(monkeypatch, "classic")
    for name in made:
        if name.partition(".")[0] in ("ldm_patched", "modules_forge"):
            monkeypatch.delitem(sys.modules, name)
    with pytest.raises(IncompatibleHost, match="Forge Neo, Forge, ersatzForge, Forge Classic, reForge"):
        hosts.detect()


def test_nothing_is_imported_to_find_out(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(sys.modules):
        if name.partition(".")[0] in ("modules", "modules_forge", "backend", "ldm_patched"):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(importlib, "import_module", None)
    with pytest.raises(IncompatibleHost):
        hosts.detect()
