"""The page of AUTOMATIC1111's family: settings, X/Y/Z plot and checkpoint picker are alike in all of them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lib_layerdiffusion.files import checkpoints
from lib_layerdiffusion.hosts.base import BaseModel
from lib_layerdiffusion.hosts.wrapping import wrap
from lib_layerdiffusion.methods import FAMILIES
from lib_layerdiffusion.request.options import OPTIONS, PREFIX, SECTION, Option, Options
from lib_layerdiffusion.request.settings import NAMES
from lib_layerdiffusion.request.spellings import sent
from lib_layerdiffusion.request.xyz_axes import Axis

KINDS = {**{one.key: one.title for one in FAMILIES}, "": "of another family"}
API_NAME = "layerdiffuse"
KEEP_EVERY = f"{PREFIX}keep_every"


class WebUIPage:
    """The part of `hosts.base.Host` that needs `modules` alone."""

    def options(self) -> Options:
        from modules import shared

        return Options.of(shared.opts.data)

    def keeps_every(self) -> bool:
        from modules import shared

        # asked while other people's pictures are written, which no setting of ours may end
        return shared.opts.data.get(KEEP_EVERY) is True

    def add_settings(self) -> None:
        from modules import shared

        for option in OPTIONS:
            shared.opts.add_option(option.key, _option_info(option))

    def add_axes(self, axes: Sequence[Axis]) -> None:
        from modules import scripts

        for data in scripts.scripts_data:
            plot = data.module
            if Path(data.path).name != "xyz_grid.py" or not hasattr(plot, "AxisOption"):
                continue
            labels = [option.label for option in plot.axis_options]
            plot.axis_options.extend(_axis_option(plot, axis) for axis in axes if axis.label not in labels)

    def selected_model(self, name: str | None = None) -> BaseModel | None:
        from modules import sd_models

        info = sd_models.get_closet_checkpoint_match(name) if name else sd_models.select_checkpoint()
        return None if info is None else model_of(info)

    def accept_named_arguments(self) -> None:
        """Have the web API take every form of arguments that `spellings.sent` knows."""
        api = sys.modules.get("modules.api.api")
        if api is not None:
            accept_named_arguments(api.Api)


def accept_named_arguments(owner: Any) -> None:
    """Wrap the method of a host's class `Api` that takes a request's arguments by their number.

    It would lose what is no list, or end the request with a message of Python's.
    """
    wrap(owner, "init_script_args", _with_every_form)


def _with_every_form(original: Callable[..., Any]) -> Callable[..., Any]:
    def init_script_args(self: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
        scripts = request.alwayson_scripts or {}
        for script in scripts:
            if script.lower() == API_NAME:
                scripts[script] = sent(scripts[script], NAMES)
        return original(self, request, *args, **kwargs)

    return init_script_args


def model_of(info: Any) -> BaseModel | None:
    """Tell a checkpoint by its file; None where that cannot be told."""
    family = checkpoints.family(Path(info.filename))
    return None if family is None else BaseModel(family, f"{info.name_for_extra} ({KINDS[family]})")


def _option_info(option: Option) -> Any:
    import gradio as gr
    from modules import shared

    component, arguments = None, {}
    if option.choices is not None:
        component, arguments = gr.Radio, {"choices": list(option.choices)}
    info = shared.OptionInfo(
        option.default, option.label, component, arguments, section=SECTION, infotext=option.infotext
    )
    info.restrict_api = option.server
    return info.info(option.info) if option.info else info


def _axis_option(plot: Any, axis: Axis) -> Any:
    choices = axis.choices
    return plot.AxisOption(
        axis.label,
        axis.kind,
        axis.apply,
        confirm=axis.confirm,
        choices=None if choices is None else lambda: list(choices),
    )
