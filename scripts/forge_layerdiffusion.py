"""LayerDiffuse in the WebUI: hands every hook of the host to the library.

Loading this never fails, whatever the WebUI: where LayerDiffuse cannot run, its panel says why.
"""

import logging
import sys
from pathlib import Path
from typing import Any

from modules import script_callbacks, scripts

import lib_layerdiffusion

logger = logging.getLogger("layerdiffuse")

TITLE = "LayerDiffuse"
LAYERS_TITLE = "LayerDiffuse layers"
PACKAGE = lib_layerdiffusion.__name__
HERE = Path(__file__).resolve().parents[1]


def folder_of_package() -> Path:
    """The extension whose package was loaded: hosts share one name space among all extensions."""
    return Path(next(iter(lib_layerdiffusion.__path__))).resolve().parent


def other_folders() -> list[Path]:
    """Folders of other extensions with a package of the same name; hosts put every one on sys.path."""
    # the package may be a link by itself
    packages = [Path(entry) / PACKAGE for entry in sys.path]
    found = {package.resolve().parent for package in packages if package.is_dir()}
    return sorted(found - {HERE})


def disable(folder: Path) -> str:
    return (
        f'Disable the extension "{folder.name}" ({folder}) on the Extensions tab and restart: '
        f'it and "{HERE.name}" ({HERE}) both provide LayerDiffuse, and only one can run.'
    )


class LayerDiffuse(scripts.Script):
    """The AlwaysVisible script, one object per tab. `handlers` is None where it cannot run."""

    handlers: Any = None
    page: Any = None
    problem = ""

    def title(self) -> str:
        return TITLE

    def show(self, is_img2img: bool) -> Any:
        return scripts.AlwaysVisible

    def ui(self, is_img2img: bool) -> list[Any]:
        import gradio as gr

        if self.handlers is None:
            with gr.Accordion(TITLE, open=False):
                gr.Markdown(self.problem)
            return []
        # one that was loaded after this script is known by now
        for folder in other_folders():
            gr.Markdown(disable(folder))
        from lib_layerdiffusion.page import panel

        built = panel.build(self.handlers.host, self.handlers.latest, self.elem_id)
        self.page.add_panel("img2img" if is_img2img else "txt2img", built)
        self.infotext_fields = built.paste_fields
        self.paste_field_names = [key for _, key in built.paste_fields]
        return [*built.controls, built.page]

    def before_process(self, p: Any, *args: Any) -> None:
        if self.handlers:
            self.handlers.before_process(p, args)

    def process(self, p: Any, *args: Any) -> None:
        if self.handlers:
            self.handlers.process(p, args)

    def process_batch(self, p: Any, *args: Any, **kwargs: Any) -> None:
        if self.handlers:
            self.handlers.process_batch(p)

    def process_before_every_sampling(self, p: Any, *args: Any, **kwargs: Any) -> None:
        if self.handlers:
            self.handlers.before_sampling(p, kwargs["x"])

    def post_sample(self, p: Any, ps: Any, *args: Any) -> None:
        if self.handlers:
            self.handlers.post_sample(p, ps.samples)

    def postprocess_batch(self, p: Any, *args: Any, **kwargs: Any) -> None:
        if self.handlers:
            self.handlers.postprocess_batch(p, kwargs.get("images"))

    def postprocess_batch_list(self, p: Any, pp: Any, *args: Any, **kwargs: Any) -> None:
        if self.handlers:
            self.handlers.postprocess_batch_list(p, pp)

    def postprocess_image(self, p: Any, pp: Any, *args: Any) -> None:
        if self.handlers:
            self.handlers.postprocess_image(p, pp)

    def postprocess_maskoverlay(self, p: Any, ppmo: Any, *args: Any) -> None:
        if self.handlers:
            self.handlers.postprocess_maskoverlay(p, ppmo)

    def postprocess_image_after_composite(self, p: Any, pp: Any, *args: Any) -> None:
        if self.handlers:
            pp.image = self.handlers.deliver(p, pp.image)

    def postprocess(self, p: Any, processed: Any, *args: Any) -> None:
        if self.handlers:
            self.handlers.finish(p, processed)


class LayerDiffuseLayers(scripts.Script):
    """The script in the list: a whole stack of layers in one click."""

    def title(self) -> str:
        return LAYERS_TITLE

    def show(self, is_img2img: bool) -> bool:
        return LayerDiffuse.handlers is not None

    def ui(self, is_img2img: bool) -> list[Any]:
        from lib_layerdiffusion.page import layers_panel

        tab = "img2img" if is_img2img else "txt2img"
        return layers_panel.build(LayerDiffuse.handlers.host, self.elem_id, tab)

    def run(self, p: Any, *args: Any) -> Any:
        return LayerDiffuse.handlers.run_layers(p, args)


def start() -> None:
    """Connect the library with the host. Raises what keeps it from running."""
    from lib_layerdiffusion import hosts
    from lib_layerdiffusion.job import hooks
    from lib_layerdiffusion.page import panel
    from lib_layerdiffusion.request import infotext
    from lib_layerdiffusion.request.xyz_axes import AXES

    host = hosts.detect()
    handlers = hooks.Hooks(host)
    page = panel.Page()
    script_callbacks.on_after_component(page.component_built)
    script_callbacks.on_ui_settings(host.add_settings)
    script_callbacks.on_before_ui(lambda: host.add_axes(AXES))
    script_callbacks.on_infotext_pasted(lambda text, params: infotext.complete(params))
    script_callbacks.on_app_started(lambda demo, app: app_started(host, demo, app))
    script_callbacks.on_cfg_denoiser(lambda params: before_step(handlers, params))
    script_callbacks.on_before_image_saved(host.before_image_saved)
    host.follow_scripts(handlers.begin_script)
    LayerDiffuse.handlers, LayerDiffuse.page = handlers, page


def before_step(handlers: Any, params: Any) -> None:
    """Host callback: the model is about to be asked, once more, about the latents `params.x`."""
    p = getattr(params.denoiser, "p", None)
    if p is not None:
        handlers.before_step(p, params.x)


def app_started(host: Any, demo: Any, app: Any) -> None:
    """Host callback: page and API exist, and so does every module that the report looks for."""
    from lib_layerdiffusion import doctor, hosts, status

    host.app_started(demo, app)
    status.offer(app, hosts.current(), host)
    logger.info("%s", doctor.line(hosts.current()))


def tell_problem(demo: Any, app: Any) -> None:
    """Host callback: the web API answers why LayerDiffuse cannot run."""
    from lib_layerdiffusion import hosts, status

    status.offer(app, hosts.current(), None, LayerDiffuse.problem)


# hosts leave logging as it is, which hides everything below a warning
if logger.level == logging.NOTSET:
    logger.setLevel(logging.INFO)
if not logger.hasHandlers():
    logger.addHandler(logging.StreamHandler())
    # the host may set up logging yet, and each line would come twice
    logger.propagate = False

if folder_of_package() != HERE:
    LayerDiffuse.problem = disable(folder_of_package())
    logger.error("%s", LayerDiffuse.problem)
else:
    try:
        start()
    except Exception as error:
        from lib_layerdiffusion.errors import LayerDiffuseError

        if isinstance(error, LayerDiffuseError):
            LayerDiffuse.problem = str(error)
            logger.error("%s", error)
        else:
            LayerDiffuse.problem = (
                f"LayerDiffuse could not start ({type(error).__name__}: {error}). Update the WebUI and this "
                "extension; if that does not help, report what the console says."
            )
            logger.exception("%s", LayerDiffuse.problem)
        script_callbacks.on_app_started(tell_problem)
