"""What the miniature's page needs of a host beyond gradio, on both versions of it that hosts use."""

from __future__ import annotations

from typing import Any

import gradio as gr

GRADIO_3 = gr.__version__.startswith("3.")
# gradio 4 would hand pictures to the page as WebP, and has the sources in a list
PNG: dict[str, Any] = {} if GRADIO_3 else {"format": "png"}
UPLOAD: dict[str, Any] = {"source": "upload"} if GRADIO_3 else {"sources": ["upload", "clipboard"]}
# gradio 3 queues everything behind one job otherwise
QUEUE: dict[str, Any] = {"concurrency_count": 64} if GRADIO_3 else {}


def picture_input(label: str, elem_id: str) -> Any:
    """An upload that keeps alpha."""
    return gr.Image(
        label=label,
        show_label=False,
        elem_id=elem_id,
        type="numpy",
        image_mode="RGBA",
        height=240,
        **UPLOAD,
        **PNG,
    )


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
