"""The page of AUTOMATIC1111's family, against modules that carry its names: settings, plots, picker, API."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple

import pytest

from lib_layerdiffusion.hosts.webui_page import WebUIPage
from lib_layerdiffusion.request.options import OPTIONS, Options
from lib_layerdiffusion.request.xyz_axes import AXES
from tests.page.test_advice import ATTENTION, UNET, checkpoint


class OptionInfo:
    def __init__(
        self,
        default: Any,
        label: str,
        component: Any = None,
        component_args: Any = None,
        section: Any = None,
        infotext: str | None = None,
    ) -> None:
        self.default, self.label, self.component = default, label, component
        self.component_args, self.section, self.infotext = component_args, section, infotext
        self.comment = ""

    def info(self, text: str) -> OptionInfo:
        self.comment = text
        return self


class AxisOption:
    def __init__(self, label: str, type: Any, apply: Any, confirm: Any = None, choices: Any = None) -> None:
        self.label, self.type, self.apply, self.confirm, self.choices = label, type, apply, confirm, choices


class ScriptData(NamedTuple):
    path: str
    module: Any


class Api:
    """Reads arguments by their number, as hosts do."""

    def init_script_args(self, request: Any, defaults: list[Any]) -> list[Any]:
        values = list(defaults)
        for script in request.alwayson_scripts.values():
            for number in range(min(len(values), len(script["args"]))):
                values[number] = script["args"][number]
        return values


class FakeModules:
    def __init__(self) -> None:
        self.data: dict[str, Any] = {}
        self.labels: dict[str, OptionInfo] = {}
        opts = SimpleNamespace(data=self.data, add_option=self.labels.__setitem__)
        self.plot = SimpleNamespace(AxisOption=AxisOption, axis_options=[AxisOption("Seed", int, None)])
        self.checkpoints: dict[str, Any] = {}
        scripts_data = [
            ScriptData("scripts/prompt_matrix.py", SimpleNamespace()),
            ScriptData("scripts/xyz_grid.py", self.plot),
        ]
        contents: dict[str, Mapping[str, Any]] = {
            "modules": {},
            "modules.shared": {"opts": opts, "OptionInfo": OptionInfo},
            "modules.scripts": {"scripts_data": scripts_data},
            "modules.sd_models": {
                "get_closet_checkpoint_match": self.checkpoints.get,
                "select_checkpoint": lambda: self.checkpoints.get("selected"),
            },
            "modules.api.api": {"Api": type("Api", (Api,), {"init_script_args": Api.init_script_args})},
        }
        self.modules: dict[str, Any] = {name: ModuleType(name) for name in contents}
        for name, values in contents.items():
            vars(self.modules[name]).update(values)
        for name in ("shared", "scripts", "sd_models"):
            setattr(self.modules["modules"], name, self.modules[f"modules.{name}"])


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeModules:
    made = FakeModules()
    for name, module in made.modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    return made


def test_every_option_is_on_the_settings_page(fake: FakeModules) -> None:
    pytest.importorskip("gradio")
    page = WebUIPage()
    page.add_settings()
    assert list(fake.labels) == [option.key for option in OPTIONS]
    assert {info.section for info in fake.labels.values()} == {("layerdiffuse", "LayerDiffuse")}
    for option, info in zip(OPTIONS, fake.labels.values(), strict=True):
        assert (info.default, info.label, info.comment) == (option.default, option.label, option.info)
        if option.choices is not None:
            assert info.component_args == {"choices": list(option.choices)}
    assert fake.labels["layerdiffuse_decode_passes"].infotext == "layerdiffusion_decode_passes"
    assert page.options() == Options()
    fake.data["layerdiffuse_decode_passes"] = 4
    assert page.options().decode_passes == 4


def test_axes_are_added_once(fake: FakeModules) -> None:
    page = WebUIPage()
    page.add_axes(AXES)
    page.add_axes(AXES)
    seed, *ours = fake.plot.axis_options
    assert seed.label == "Seed"
    assert [axis.label for axis in ours] == [axis.label for axis in AXES]
    for made, axis in zip(ours, AXES, strict=True):
        assert (made.type, made.apply, made.confirm) == (axis.kind, axis.apply, axis.confirm)
        assert (made.choices() if made.choices else None) == (list(axis.choices) if axis.choices else None)


def test_the_selected_checkpoint_is_told_by_its_file(fake: FakeModules, tmp_path: Path) -> None:
    page = WebUIPage()
    assert page.selected_model() is None
    shapes = {"selected": (4, 2048), "old": (1, 768), "other": (1, 1024)}
    for name, (block, width) in shapes.items():
        path = checkpoint(
            tmp_path / f"{name}.safetensors", {f"{UNET}input_blocks.{block}.{ATTENTION}": [4, width]}
        )
        fake.checkpoints[name] = SimpleNamespace(filename=str(path), name_for_extra=name)
    told = [page.selected_model(name) for name in (None, "old", "other")]
    assert [(one.family, one.title) for one in told if one is not None] == [
        ("sdxl", "selected (SDXL)"),
        ("sd15", "old (SD1.5)"),
        ("", "other (of another family)"),
    ]
    assert page.selected_model("unknown") is None
    fake.checkpoints["packed"] = SimpleNamespace(filename=str(tmp_path / "a.gguf"), name_for_extra="a")
    assert page.selected_model("packed") is None


def test_named_arguments_need_no_list_around_them(fake: FakeModules) -> None:
    page = WebUIPage()
    page.accept_named_arguments()
    wrapped = fake.modules["modules.api.api"].Api.init_script_args
    page.accept_named_arguments()
    api = fake.modules["modules.api.api"].Api()
    assert type(api).init_script_args is wrapped
    named = {"method": "x"}
    for given in (named, [named]):
        for name in ("LayerDiffuse", "layerdiffuse"):
            request = SimpleNamespace(alwayson_scripts={name: {"args": given}})
            assert api.init_script_args(request, [False, 1.0]) == [named, 1.0]
    other = SimpleNamespace(alwayson_scripts={"other": {"args": {"a": 1}}})
    with pytest.raises(KeyError):
        api.init_script_args(other, [False])
