"""LayerDiffuse in the WebUI: hands every hook of the host to the library."""

import logging
from pathlib import Path
from typing import Any

from modules import script_callbacks, scripts

import lib_layerdiffusion
from lib_layerdiffusion import hooks, hosts, infotext, ui
from lib_layerdiffusion.errors import IncompatibleHost
from lib_layerdiffusion.hosts.base import Host
from lib_layerdiffusion.xyz_axes import AXES

logger = logging.getLogger("layerdiffuse")


def find_host() -> Host:
    """Return the adapter of this WebUI. Raises IncompatibleHost."""
    here, found = Path(__file__).resolve().parents[1], Path(lib_layerdiffusion.__file__).resolve().parents[1]
    if here != found:
        raise IncompatibleHost(
            f"LayerDiffuse in {here} is switched off: the extension in {found} provides the same package. "
            "Disable one of the two on the Extensions tab and restart."
        )
    return hosts.detect()


class LayerDiffuse(scripts.Script):
    """The AlwaysVisible script, one object per tab. `handlers` is None where it cannot run."""

    handlers: hooks.Hooks | None = None
    problem = ""

    def title(self) -> str:
        return ui.TITLE

    def show(self, is_img2img: bool) -> Any:
        return scripts.AlwaysVisible

    def ui(self, is_img2img: bool) -> list[Any]:
        if self.handlers is None:
            return ui.explain(self.problem)
        panel = ui.build(self.handlers.host, self.handlers.latest, self.elem_id)
        page.add_panel("img2img" if is_img2img else "txt2img", panel)
        self.infotext_fields = panel.paste_fields
        self.paste_field_names = [key for _, key in panel.paste_fields]
        return panel.controls

    def before_process(self, p: Any, *args: Any) -> None:
        if self.handlers:
            self.handlers.before_process(p, args)

    def process(self, p: Any, *args: Any) -> None:
        if self.handlers:
            self.handlers.process(p, args)

    def process_before_every_sampling(self, p: Any, *args: Any, **kwargs: Any) -> None:
        if self.handlers:
            self.handlers.before_sampling(p, kwargs["x"])

    def post_sample(self, p: Any, ps: Any, *args: Any) -> None:
        if self.handlers:
            self.handlers.post_sample(p, ps.samples)

    def postprocess_batch(self, p: Any, *args: Any, **kwargs: Any) -> None:
        if self.handlers:
            self.handlers.postprocess_batch(p)

    def postprocess_image(self, p: Any, pp: Any, *args: Any) -> None:
        if self.handlers:
            self.handlers.postprocess_image(p, pp.image)

    def postprocess_maskoverlay(self, p: Any, ppmo: Any, *args: Any) -> None:
        if self.handlers:
            self.handlers.postprocess_maskoverlay(p, ppmo.mask_for_overlay, ppmo.overlay_image)

    def postprocess_image_after_composite(self, p: Any, pp: Any, *args: Any) -> None:
        if self.handlers:
            pp.image = self.handlers.deliver(p, pp.image)

    def postprocess(self, p: Any, processed: Any, *args: Any) -> None:
        if self.handlers:
            self.handlers.finish(p, processed)


try:
    host = find_host()
except IncompatibleHost as error:
    LayerDiffuse.problem = str(error)
    logger.error("%s", error)
else:
    LayerDiffuse.handlers = hooks.Hooks(host)
    page = ui.Page(LayerDiffuse.handlers.latest)
    script_callbacks.on_after_component(page.component_built)
    script_callbacks.on_ui_settings(host.add_settings)
    script_callbacks.on_before_ui(lambda: host.add_axes(AXES))
    script_callbacks.on_infotext_pasted(lambda text, params: infotext.complete(params))
    script_callbacks.on_app_started(host.app_started)
    script_callbacks.on_before_image_saved(host.before_image_saved)
