"""What the miniature's page needs of a host beyond gradio: an accordion whose header switches it on."""

from __future__ import annotations

from typing import Any

import gradio as gr


class EnabledAccordion(gr.Checkbox):
    """A checkbox inside an accordion: `with` adds to the accordion, its value is the checkbox's."""

    def __init__(self, label: str = "", elem_id: str | None = None, **kwargs: Any) -> None:
        if kwargs:
            # gradio makes components again from their own constructor arguments
            super().__init__(label=label, elem_id=elem_id, **kwargs)
            return
        self.accordion = gr.Accordion(label, open=True)
        with self.accordion:
            super().__init__(value=False, label="Enabled", elem_id=elem_id)

    def __enter__(self) -> EnabledAccordion:
        self.accordion.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self.accordion.__exit__(*error)

    def get_block_name(self) -> str:
        return "checkbox"
