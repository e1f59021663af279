"""The panel: one control per script argument, shown or hidden as the method table says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr

from lib_layerdiffusion import infotext
from lib_layerdiffusion.errors import BadSetting
from lib_layerdiffusion.hosts.base import Host
from lib_layerdiffusion.images import ResizeMode
from lib_layerdiffusion.methods import DEFAULT_METHOD, METHODS, Layer, Method, find_method
from lib_layerdiffusion.settings import ARGUMENTS, RANGES

TITLE = "LayerDiffuse"
LAYER_TITLES = {Layer.FOREGROUND: "Foreground", Layer.BACKGROUND: "Background", Layer.BLENDED: "Blending"}

PasteField = tuple[Any, infotext.Key]
"""A control and what fills it from infotext."""


@dataclass(frozen=True)
class Panel:
    """`controls` in the order of settings.ARGUMENTS; `paste_fields` as the host's infotext_fields."""

    controls: list[Any]
    paste_fields: list[PasteField]


def visible(method: Method) -> list[bool]:
    """Visibility of, in order: all pictures, each of the three, resize mode, each further prompt."""
    return [
        bool(method.pictures),
        *(layer in method.pictures for layer in LAYER_TITLES),
        method.resizes_pictures,
        *(layer in method.prompts for layer in LAYER_TITLES),
    ]


def build(host: Host, elem_id: Callable[[str], str]) -> Panel:
    """Make the panel inside the page being built. `elem_id` turns a short name into the page's id."""
    shown = visible(DEFAULT_METHOD)
    with host.accordion(TITLE, elem_id("enabled")) as enabled:
        method = gr.Dropdown(
            [m.label for m in METHODS],
            value=DEFAULT_METHOD.label,
            label="Method",
            elem_id=elem_id("method"),
        )
        pictures, boxes = [], []
        with gr.Row(visible=shown[0]) as row:
            for (layer, title), is_shown in zip(LAYER_TITLES.items(), shown[1:4], strict=True):
                with gr.Column(visible=is_shown, elem_id=elem_id(f"{layer.value}_box")) as box:
                    gr.HTML(title)
                    pictures.append(host.image_input(title, elem_id(layer.value)))
                boxes.append(box)
        with gr.Row():
            weight = gr.Slider(
                *RANGES["weight"],
                value=1.0,
                step=0.001,
                label="Weight",
                elem_id=elem_id("weight"),
            )
            ending_step = gr.Slider(
                *RANGES["ending_step"], value=1.0, step=0.001, label="Stop At", elem_id=elem_id("ending_step")
            )
        resize_mode = gr.Radio(
            [mode.value for mode in ResizeMode],
            value=ResizeMode.CROP.value,
            label="Resize Mode",
            visible=shown[4],
            elem_id=elem_id("resize_mode"),
        )
        output_origin = gr.Checkbox(
            False, label="Output original mat for img2img", visible=False, elem_id=elem_id("output_origin")
        )
        prompts = [
            gr.Textbox(
                value="",
                label=f"{title} Additional Prompt",
                placeholder="Additional prompt",
                visible=is_shown,
                elem_id=elem_id(f"{layer.value}_prompt"),
            )
            for (layer, title), is_shown in zip(LAYER_TITLES.items(), shown[5:], strict=True)
        ]
    # nothing is cleared here: pasting settings fires this after the prompts were filled in
    method.change(
        lambda name: [gr.update(visible=is_shown) for is_shown in visible(_method(name))],
        inputs=[method],
        outputs=[row, *boxes, resize_mode, *prompts],
        queue=False,
        show_progress="hidden",
    )
    controls = [enabled, method, weight, ending_step, *pictures, resize_mode, output_origin, *prompts]
    return Panel(controls, _paste_fields(controls))


def explain(problem: str) -> list[Any]:
    """Say in the page why there is no panel; returns no controls."""
    with gr.Accordion(TITLE, open=False):
        gr.Markdown(problem)
    return []


def _method(name: str) -> Method:
    try:
        return find_method(name)
    except BadSetting:
        return DEFAULT_METHOD


def _paste_fields(controls: list[Any]) -> list[PasteField]:
    keys = infotext.keys()
    named = zip([name for name, _ in ARGUMENTS], controls, strict=True)
    return [(control, keys[name]) for name, control in named if name in keys]
