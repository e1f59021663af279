"""The page of the trained miniature: prompt, the extension's own panel, img2img, and infotext to replay."""

from __future__ import annotations

import html
from typing import Any

import gradio as gr
from PIL import Image

from lib_layerdiffusion.errors import LayerDiffuseError
from lib_layerdiffusion.methods import ANIMA, FAMILIES, SD15, SDXL
from miniature.training.backgrounds import PLACES
from miniature.training.emoji import CONCEPTS
from miniature.webui import infotext_format
from miniature.webui.components import PNG, picture_input
from miniature.webui.demo import DRIFTED, GUIDANCE, STEPS, Trained

WORDS = (
    f"Knows {', '.join(sorted(CONCEPTS.values()))}; after a comma a place, for a picture with a background: "
    f"{', '.join(sorted(PLACES))}."
)


NO_SCRIPT = "None"


def build(trained: Trained) -> Any:
    """A gradio page; texts and pictures stay on this machine."""
    script = trained.script
    built = script.callbacks["on_after_component"]
    families = {family.key: family for family in FAMILIES}

    def generate(
        checkpoint: str,
        prompt: str,
        seed: float,
        steps: float,
        guidance: float,
        count: float,
        init: Any,
        strength: float,
        chosen: str,
        *arguments: Any,
    ) -> tuple[list[Image.Image], str, str]:
        fields: dict[str, Any] = {"prompt": prompt, "seed": int(seed), "steps": int(steps)}
        fields |= {"cfg_scale": guidance, "n_iter": int(count)}
        if init is not None:
            fields |= {"init_images": [Image.fromarray(init)], "denoising_strength": strength}
        if checkpoint == DRIFTED:
            trained.load_drifted()
        else:
            trained.load(families[checkpoint])
        try:
            if chosen == NO_SCRIPT:
                result = trained.run(list(arguments[: len(controls)]), **fields)
            else:
                result = trained.run_layers(*arguments[len(controls) :], **fields)
        except LayerDiffuseError as error:
            return [], "", f"<p class='error'>{html.escape(str(error))}</p>"
        said = "".join(f"<p>{html.escape(line)}</p>" for line in result.comments.splitlines())
        return [*result.images, *result.extra_images], result.info, said

    with gr.Blocks(analytics_enabled=False, title="LayerDiffuse miniature") as page:
        gr.Markdown(f"**LayerDiffuse over models of one to three million parameters, 128x128.** {WORDS}")
        with gr.Row():
            with gr.Column():
                checkpoint = gr.Dropdown(
                    [SDXL.key, SD15.key, ANIMA.key, DRIFTED],
                    value=SDXL.key,
                    label="Checkpoint",
                    elem_id="setting_sd_model_checkpoint",
                )
                prompt = gr.Textbox("red apple", label="Prompt", elem_id="txt2img_prompt")
                with gr.Row():
                    seed = gr.Number(1, label="Seed", precision=0, elem_id="txt2img_seed")
                    steps = gr.Slider(1, 50, STEPS, step=1, label="Steps")
                    guidance = gr.Slider(1, 10, GUIDANCE, step=0.5, label="CFG")
                    count = gr.Slider(1, 8, 1, step=1, label="Batch count")
                sampler = gr.Dropdown(
                    ["Euler a"], value="Euler a", label="Sampler", elem_id="txt2img_sampling"
                )
                built(sampler, elem_id="txt2img_sampling")
                controls = script.ui(False)
                built(checkpoint, elem_id="setting_sd_model_checkpoint")
                chosen = gr.Dropdown(
                    [NO_SCRIPT, script.layers.title()], value=NO_SCRIPT, label="Script", elem_id="script_list"
                )
                with gr.Group(visible=False) as group:
                    values = script.layers.ui(False)
                chosen.change(
                    lambda name: gr.update(visible=name != NO_SCRIPT), inputs=[chosen], outputs=[group]
                )
                with gr.Accordion("img2img", open=False):
                    init = picture_input("Init picture", "img2img_image")
                    strength = gr.Slider(
                        0, 1, 0.5, step=0.05, label="Denoising strength", elem_id="img2img_denoising_strength"
                    )
            with gr.Column():
                button = gr.Button("Generate", variant="primary", elem_id="generate")
                gallery = gr.Gallery(label="Result", elem_id="result", columns=4, height=320, **PNG)
                problem = gr.HTML(elem_id="html_log_txt2img")
                text = gr.Textbox(label="Infotext", elem_id="infotext", lines=4)
                back = gr.Button("Set everything as this infotext says", elem_id="paste")
        fields = script.infotext_fields

        def replay(written: str) -> list[Any]:
            params = infotext_format.read(written)
            first = written.strip().split("\n")
            values: list[Any] = ["\n".join(first[:-1]) or gr.update()]
            values += [int(params[name]) if name in params else gr.update() for name in ("Seed", "Steps")]
            for control, key in fields:
                value = key(params)
                values.append(gr.update() if value is None else type(control.value)(value))
            return values

        button.click(
            generate,
            inputs=[
                *(checkpoint, prompt, seed, steps, guidance, count, init, strength, chosen),
                *(*controls, *values),
            ],
            outputs=[gallery, text, problem],
        )
        back.click(replay, inputs=[text], outputs=[prompt, seed, steps, *(control for control, _ in fields)])
    return page
