"""The section of the Extras tab: all values of the finish, and an atlas of a batch."""

from __future__ import annotations

from typing import Any

import gradio as gr

from lib_layerdiffusion.page.panel import finish_control
from lib_layerdiffusion.pictures.geometry import ANCHORS
from lib_layerdiffusion.request.finish import VALUES, Value

ELEM_ID = "extras_layerdiffuse_"


def build(title: str, enabled: str, atlas: str) -> dict[str, Any]:
    """Make the section in the page being built; return its controls by the names of their values."""
    with gr.Accordion(title, open=False, elem_id=f"{ELEM_ID}finish"):
        controls: dict[str, Any] = {
            enabled: gr.Checkbox(
                False,
                label="Enabled",
                info="keeps the transparency through the whole tab, and finishes the picture last",
                elem_id=f"{ELEM_ID}{enabled}",
            )
        }
        controls |= {value.name: _control(value) for value in VALUES}
        controls[atlas] = gr.Checkbox(
            False,
            label="Atlas",
            info="of a batch, also save all as one picture, with the JSON that game engines read",
            elem_id=f"{ELEM_ID}{atlas}",
        )
    return controls


def _control(value: Value) -> Any:
    elem_id = f"{ELEM_ID}{value.name}"
    if value.name == "anchor":
        return gr.Dropdown(list(ANCHORS), value=value.default, label=value.title, elem_id=elem_id)
    if isinstance(value.default, str):
        return gr.Textbox(value.default, label=value.title, info=value.info, elem_id=elem_id)
    return finish_control(value, elem_id)
