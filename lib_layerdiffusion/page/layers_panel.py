"""The controls of "LayerDiffuse layers" in the list of scripts, in the order of layer_plan.ON_PAGE.

Element ids are `script_txt2img_layerdiffuse_layers_NAME` and `script_img2img_layerdiffuse_layers_NAME`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import gradio as gr

from lib_layerdiffusion.page.panel import QUIET
from lib_layerdiffusion.request.layer_plan import (
    ARGUMENTS,
    AS_PAGE,
    BLENDED,
    COMPOSITE,
    NEXT_SEED,
    ON_PAGE,
    SAME_SEED,
    STEERED,
    Kind,
    Part,
)
from lib_layerdiffusion.request.settings import RANGES, TITLES

if TYPE_CHECKING:
    from lib_layerdiffusion.hosts.base import Host

HELP = {
    Kind.OBJECTS: {
        "txt2img": "The prompt above is that of the background. Each line below puts one thing into it.",
        "img2img": "The picture above is the background, and the prompt describes it. Each line below puts "
        "one thing into it.",
    },
    Kind.SURROUNDINGS: {
        "txt2img": "The prompt above is that of the subject.",
        "img2img": "The picture above becomes the subject, with the prompt above.",
    },
    Kind.CUT_OUT: {
        "txt2img": "This kind needs a picture with a mask: use the Inpaint tab of img2img.",
        "img2img": "Inpaint tab: paint the mask over the object. The prompt above is of what lies behind it.",
    },
}

PARTS = {
    Kind.OBJECTS: (Part.BLENDING, Part.OBJECT),
    Kind.SURROUNDINGS: (Part.TRANSPARENT, Part.BLENDING, Part.SURROUNDINGS),
    Kind.CUT_OUT: (Part.OBJECT,),
}
"""The steps of each kind that have a Weight and a Stop At."""


def build(host: Host, elem_id: Callable[[str], str], tab: str) -> list[Any]:
    """Make the controls inside the page being built, for the tab "txt2img" or "img2img"."""
    defaults = dict(ARGUMENTS)
    first = Kind(defaults["kind"])
    kind = gr.Radio([one.value for one in Kind], value=first.value, label="Kind", elem_id=elem_id("kind"))
    said = gr.Markdown(HELP[first][tab], elem_id=elem_id("help"))
    objects = gr.Textbox(
        "",
        label="Objects, one in each line",
        lines=3,
        placeholder="red apple\nstar",
        elem_id=elem_id("objects"),
    )
    with gr.Accordion(
        "Background picture, in place of a generated one", open=False, visible=tab == "txt2img"
    ) as slot:
        picture = host.image_input("Background", elem_id("bg_image"))
    surroundings = gr.Textbox(
        "", label="Prompt of the surroundings", visible=False, elem_id=elem_id("surroundings")
    )
    with gr.Accordion("Each step", open=False, elem_id=elem_id("steps")):
        together = gr.Textbox(
            "",
            label="Prompt of both together",
            placeholder="empty: the prompt above and that of the surroundings",
            visible=False,
            elem_id=elem_id("together"),
        )
        with gr.Row():
            sampler = gr.Dropdown(
                [AS_PAGE, *host.samplers()],
                value=defaults["sampler"],
                label="Sampler where a step builds on two pictures",
                elem_id=elem_id("sampler"),
            )
            seeds = gr.Radio([SAME_SEED, NEXT_SEED], value=SAME_SEED, label="Seed", elem_id=elem_id("seeds"))
        go_on_with = gr.Radio(
            [COMPOSITE, BLENDED],
            value=COMPOSITE,
            label="The next object is put into",
            elem_id=elem_id("go_on_with"),
        )
        keep_between = gr.Checkbox(
            False, label="Keep the blended pictures too", elem_id=elem_id("keep_between")
        )
        sliders, rows = [], []
        for part, (title, stop) in STEERED.items():
            with gr.Row(visible=part in PARTS[first]) as row:
                for name, value in (("weight", 1.0), ("ending_step", stop)):
                    sliders.append(
                        gr.Slider(
                            *RANGES[name],
                            value=value,
                            step=0.001,
                            label=f"{title}: {TITLES[name]}",
                            elem_id=elem_id(f"{part.value}_{name}"),
                        )
                    )
            rows.append(row)

    def arrange(name: str) -> list[Any]:
        chosen = Kind(name)
        around = chosen is Kind.SURROUNDINGS
        return [
            gr.update(value=HELP[chosen][tab]),
            gr.update(visible=not around),
            gr.update(visible=chosen is Kind.OBJECTS and tab == "txt2img"),
            gr.update(visible=around),
            gr.update(visible=around),
            gr.update(visible=chosen is Kind.OBJECTS),
            *(gr.update(visible=part in PARTS[chosen]) for part in STEERED),
        ]

    arranged = [said, objects, slot, surroundings, together, go_on_with, *rows]
    kind.change(arrange, inputs=[kind], outputs=arranged, **QUIET)
    controls = [
        kind, objects, picture, surroundings, together, sampler, seeds, go_on_with, keep_between, *sliders
    ]  # fmt: skip
    assert len(controls) == len(ON_PAGE)
    return controls
