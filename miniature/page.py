"""What the miniature's page needs of a host beyond gradio: an accordion with a checkbox that enables it."""

from __future__ import annotations

from typing import Any

import gradio as gr


class EnabledAccordion:
    """`with` adds to the accordion and gives its checkbox.

    It is no gradio component itself: gradio takes a component's configuration from its own constructor,
    and writes a .pyi beside the module of each component class.
    """

    def __init__(self, label: str, elem_id: str) -> None:
        self.accordion = gr.Accordion(label, open=True)
        with self.accordion:
            self.checkbox = gr.Checkbox(False, label="Enabled", elem_id=elem_id)

    def __enter__(self) -> Any:
        self.accordion.__enter__()
        return self.checkbox

    def __exit__(self, *error: Any) -> None:
        self.accordion.__exit__(*error)
