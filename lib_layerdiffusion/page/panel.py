"""The panel: one control per script argument, shown or hidden as the method table says.

Element ids are `script_txt2img_layerdiffuse_NAME` and `script_img2img_layerdiffuse_NAME`; docs/settings.md
lists the names. Labels are keys of the user's saved defaults. Neither changes.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import gradio as gr
from gradio.context import Context

from lib_layerdiffusion.errors import BadSetting
from lib_layerdiffusion.methods import DEFAULT_METHOD, FOLDER, METHODS, Layer, Method, find_method
from lib_layerdiffusion.page import advice
from lib_layerdiffusion.page.latest import Latest
from lib_layerdiffusion.pictures.arithmetic import ResizeMode
from lib_layerdiffusion.request import infotext
from lib_layerdiffusion.request.finish import Value
from lib_layerdiffusion.request.keep import BEHIND, KEEPING, NOBODY, REPAINT
from lib_layerdiffusion.request.settings import ARGUMENTS, FINISH, RANGES, TITLES
from lib_layerdiffusion.request.trigger_words import TRIGGER_WORDS
from lib_layerdiffusion.weight_files import WeightFile

if TYPE_CHECKING:
    from lib_layerdiffusion.hosts.base import Host

TITLE = "LayerDiffuse"
LAYER_TITLES = {Layer.FOREGROUND: "Foreground", Layer.BACKGROUND: "Background", Layer.BLENDED: "Blending"}
TABS = ("txt2img", "img2img")

JAVASCRIPT = "_js" if gr.__version__.startswith("3.") else "js"
"""What gradio calls the argument for a function that runs in the page."""
PAGE_NAME = """() => {
    const name = "layerdiffuse_window";
    try {
        window[name] ||= sessionStorage.getItem(name);
    } catch { /* storage is switched off: one name until the page is left */ }
    // not randomUUID, which pages without https lack
    const random = crypto.getRandomValues(new Uint32Array(4));
    window[name] ||= Array.from(random, (one) => one.toString(36)).join("");
    try {
        sessionStorage.setItem(name, window[name]);
    } catch { /* the same */ }
    return `${window[name]} TAB`;
}"""
"""Gives the name of a page as `latest` uses it: random, kept while the window is open, and nobody else's."""
# nothing to wait for in a queue, and nothing that should grey out
QUIET: dict[str, Any] = {"queue": False, "show_progress": "hidden"}

PasteField = tuple[Any, infotext.Key]
"""A control and what fills it from infotext."""


@dataclass(frozen=True)
class Panel:
    """`controls` in the order of settings.ARGUMENTS; `paste_fields` as the host's infotext_fields.

    `page`, `sampler` and `checkpoint` are hidden texts: the page's name, and what its own controls of these
    names show.
    """

    controls: list[Any]
    page: Any
    paste_fields: list[PasteField]
    sampler: Any
    checkpoint: Any
    watched: list[Any]
    say: Callable[..., Any]
    said: Any


def visible(method: Method, from_text: bool = True) -> list[bool]:
    """Visibility of the controls that not every method has.

    In order: all pictures, each of the three, resize mode, each further prompt, finish, weight and Stop At,
    repaint, who repaints, trigger words. `from_text` is txt2img, where another checkpoint may go on.
    """
    repainted = from_text and method.makes_one_alone
    return [
        bool(method.pictures),
        *(layer in method.pictures for layer in LAYER_TITLES),
        method.resizes_pictures,
        *(layer in method.prompts for layer in LAYER_TITLES),
        method.makes_alpha,
        not method.keeps_alpha,
        method.keeps_alpha or repainted,
        repainted,
        bool(method.family.words),
    ]


def build(host: Host, latest: Latest, elem_id: Callable[[str], str]) -> Panel:
    """Make the panel inside the page being built. `elem_id` turns a short name into the page's id."""
    from_text = elem_id("").startswith(f"script_{TABS[0]}")
    shown = visible(DEFAULT_METHOD, from_text)
    with host.accordion(TITLE, elem_id("enabled")) as enabled:
        page = _hidden(gr.Textbox, "", "Page", elem_id("page"))
        method = gr.Dropdown(
            [m.label for m in METHODS if host.runs(m.family)],
            value=DEFAULT_METHOD.label,
            label=TITLES["method"],
            elem_id=elem_id("method"),
        )
        said = gr.HTML(visible=False, elem_id=elem_id("advice"))
        for sentence in host.capabilities.missing.values():
            gr.Markdown(sentence)
        pictures, boxes = [], []
        with gr.Row(visible=shown[0]) as row:
            for (layer, title), is_shown in zip(LAYER_TITLES.items(), shown[1:4], strict=True):
                with gr.Column(visible=is_shown, elem_id=elem_id(f"{layer.value}_box"), min_width=240) as box:
                    pictures.append(_picture_slot(host, latest, layer, title, elem_id, page))
                boxes.append(box)
        with gr.Row(visible=shown[9]) as strengths:
            weight, ending_step = (
                gr.Slider(*RANGES[name], value=1.0, step=0.001, label=TITLES[name], elem_id=elem_id(name))
                for name in ("weight", "ending_step")
            )
        words = finish_control(TRIGGER_WORDS, elem_id(TRIGGER_WORDS.name), shown[12])
        resize_mode = gr.Radio(
            [mode.value for mode in ResizeMode],
            value=ResizeMode.CROP.value,
            label=TITLES["resize_mode"],
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
            for (layer, title), is_shown in zip(LAYER_TITLES.items(), shown[5:8], strict=True)
        ]
        with gr.Accordion("Finish", open=False, visible=shown[8], elem_id=elem_id("finish")) as finish:
            finishing = [finish_control(value, elem_id(value.name)) for value in FINISH.values()]
        with gr.Accordion("Repaint", open=False, visible=shown[10], elem_id=elem_id("repaint")) as repaint:
            with gr.Row(visible=shown[11]) as by_whom:
                repainting = [
                    keep_control(value, elem_id(value.name), [NOBODY, *host.checkpoints()])
                    for value in REPAINT
                ]
            with gr.Row():
                keeping = [keep_control(value, elem_id(value.name), BEHIND) for value in KEEPING]
        given = [
            _hidden(gr.Checkbox, False, f"{title} given", elem_id(f"{layer.value}_given"))
            for layer, title in LAYER_TITLES.items()
        ]
        sampler = _hidden(gr.Textbox, "", "Sampler in use", elem_id("sampler"))
        checkpoint = _hidden(gr.Textbox, "", "Checkpoint in use", elem_id("checkpoint"))
        arranged_for = _hidden(gr.Textbox, DEFAULT_METHOD.label, "Arranged for", elem_id("arranged_for"))
        # javascript/layerdiffuse.js presses it when a job has ended with an error
        message = gr.Button("Show message", visible=False, elem_id=elem_id("message"))
    # (in the queue: outside it, a toast finds no page)
    message.click(partial(_show_message, latest), inputs=[page], show_progress="hidden")
    name_page = PAGE_NAME.replace("TAB", elem_id(""))
    Context.root_block.load(fn=None, outputs=[page], **{JAVASCRIPT: name_page})
    # nothing is cleared here: pasting settings fires this after the prompts were filled in
    arranged = [row, *boxes, resize_mode, *prompts, finish, strengths, repaint, by_whom, words]
    arrange = partial(_arrange, from_text=from_text)
    method.change(arrange, inputs=[method], outputs=arranged, **QUIET)
    # the user's saved default may be another method than the one that it was built for. That is looked at in
    # the page: an answer to every load could come after one to a choice that was made meanwhile
    arranged_for.change(arrange, inputs=[method], outputs=arranged, **QUIET)
    Context.root_block.load(
        fn=None, inputs=[method], outputs=[arranged_for], **{JAVASCRIPT: "(name) => name"}
    )
    for picture, flag in zip(pictures, given, strict=True):
        # in the page: the picture itself need not travel for this
        _mirror(picture, flag, "(picture) => Boolean(picture)")
    watched = [enabled, method, *given, sampler, checkpoint]
    say = _sayer(host)
    for one in watched:
        one.change(say, inputs=watched, outputs=[said], **QUIET)
    controls = [enabled, method, weight, ending_step, *pictures, resize_mode, output_origin, *prompts]
    controls += [*finishing, *keeping, *repainting, words]
    # the files may be others than when the WebUI was started
    Context.root_block.load(
        lambda: gr.update(choices=[NOBODY, *host.checkpoints()]), outputs=[repainting[0]], **QUIET
    )
    fields = _paste_fields(controls, from_text)
    return Panel(controls, page, fields, sampler, checkpoint, watched, say, said)


def finish_control(value: Value, elem_id: str, shown: bool = True) -> Any:
    """Make the control of one value of the finish, as the panel and the Extras tab show it."""
    if isinstance(value.default, bool):
        return gr.Checkbox(value.default, label=value.title, info=value.info, elem_id=elem_id, visible=shown)
    high = value.high if value.shown is None else value.shown
    return gr.Slider(
        value.low,
        high,
        value=value.default,
        step=value.step,
        label=value.title,
        info=value.info,
        elem_id=elem_id,
    )


def keep_control(value: Value, elem_id: str, choices: Sequence[str]) -> Any:
    """Make the control of one value of keeping transparency; `choices` are for one that has some."""
    if value.is_number:
        return finish_control(value, elem_id)
    if not value.default:
        return gr.Textbox("", label=value.title, info=value.info, elem_id=elem_id)
    return gr.Dropdown(
        list(choices),
        value=value.default,
        label=value.title,
        info=value.info,
        allow_custom_value=True,
        elem_id=elem_id,
    )


def _arrange(name: str, from_text: bool) -> list[Any]:
    return [gr.update(visible=is_shown) for is_shown in visible(_method(name), from_text)]


class Page:
    """Connects the panels with what the host builds around them: samplers and the checkpoint."""

    def __init__(self) -> None:
        self._panels: dict[str, Panel] = {}
        self._samplers: dict[str, Any] = {}

    def add_panel(self, tab: str, panel: Panel) -> None:
        """Remember a tab's panel. Hosts also build some that nobody will see; only the first counts."""
        if tab in self._panels:
            return
        self._panels[tab] = panel
        if tab in self._samplers:
            _follow(self._samplers[tab], panel.sampler)

    def component_built(self, component: Any, **properties: Any) -> None:
        """Host callback for every component, with what it was made with, in the page that it is part of."""
        if Context.root_block is None:
            # hosts say what changes in a control by making another one, which is part of no page
            return
        name = properties.get("elem_id")
        for tab in TABS:
            if name == f"{tab}_sampling":
                self._samplers[tab] = component
                if tab in self._panels:
                    _follow(component, self._panels[tab].sampler)
        if name == "setting_sd_model_checkpoint" or "model_selection" in (
            properties.get("elem_classes") or ()
        ):
            for panel in self._panels.values():
                _follow(component, panel.checkpoint)
                load = Context.root_block.load
                load(panel.say, inputs=panel.watched, outputs=[panel.said], **QUIET)


def _show_message(latest: Latest, page: str) -> None:
    message = latest.take_message(page)
    if message:
        gr.Warning(message)


def _picture_slot(
    host: Host, latest: Latest, layer: Layer, title: str, elem_id: Callable[[str], str], page: Any
) -> Any:
    gr.HTML(f'<span id="{elem_id(layer.value)}_title">{title}</span>')
    picture = host.image_input(title, elem_id(layer.value))
    button = gr.Button(
        f"Last result as {title.lower()}", size="sm", elem_id=elem_id(f"{layer.value}_from_result")
    )

    def take(name: str) -> Any:
        result = latest.picture_for(name, layer)
        if result is None:
            gr.Warning("LayerDiffuse has made no picture in this window since the WebUI was started.")
            return gr.update()
        return result

    button.click(take, inputs=[page], outputs=[picture], show_progress="hidden")
    return picture


def _hidden(component: Any, value: Any, label: str, elem_id: str) -> Any:
    made = component(value, label=label, visible=False, elem_id=elem_id)
    # no default of the user's, and not to be saved as one
    made.do_not_save_to_config = True
    return made


def _mirror(source: Any, target: Any, function: str) -> None:
    source.change(fn=None, inputs=[source], outputs=[target], **{JAVASCRIPT: function})


def _follow(source: Any, target: Any) -> None:
    if isinstance(source.value, str):
        target.value = source.value
    _mirror(source, target, "(value) => value")


def _sayer(host: Host) -> Callable[..., Any]:
    def say(enabled: bool, name: str, *rest: Any) -> Any:
        *flags, sampler, checkpoint = rest
        given = [layer for layer, flag in zip(LAYER_TITLES, flags, strict=True) if flag]
        model = host.selected_model(checkpoint or None)
        selected = None if model is None else advice.Checkpoint(model.family, model.title)
        asked = _method(name)
        said = advice.sentences(asked, given, sampler or "", selected, _absent(host, asked))
        return gr.update(value=_alert(said), visible=bool(said))

    return say


def _absent(host: Host, method: Method) -> list[WeightFile]:
    """The files of a method that are not there; none where that cannot be told."""
    try:
        folder = host.models_dir() / (host.options().model_folder or FOLDER)
    except BadSetting:
        return []
    return [file for file in method.files if not (folder / file.filename).is_file()]


def _alert(said: Sequence[str]) -> str:
    """Something that screen readers read out when it appears."""
    lines = "".join(f"<p>{html.escape(sentence)}</p>" for sentence in said)
    return f'<div class="layerdiffuse-advice" role="alert">{lines}</div>' if lines else ""


def _method(name: str) -> Method:
    try:
        return find_method(name)
    except BadSetting:
        return DEFAULT_METHOD


def _paste_fields(controls: list[Any], from_text: bool) -> list[PasteField]:
    keys = infotext.keys()
    if not from_text:
        for value in REPAINT:
            del keys[value.name]
    named = zip([name for name, _ in ARGUMENTS], controls, strict=True)
    return [(control, keys[name]) for name, control in named if name in keys]
