"""LayerDiffuse in the Extras tab: finishes any transparent picture, after all other steps of the tab.

Loading this never fails; where LayerDiffuse cannot run, the section is missing.
"""

import logging
from pathlib import Path
from typing import Any

import lib_layerdiffusion

logger = logging.getLogger("layerdiffuse")

HERE = Path(__file__).resolve().parents[1]


def build() -> Any:
    """Return the class for the host's Extras tab. Raises what keeps it from running."""
    from modules import script_callbacks, scripts_postprocessing

    from lib_layerdiffusion.hosts import webui_extras
    from lib_layerdiffusion.job import extras
    from lib_layerdiffusion.page import extras_panel

    class LayerDiffuseFinish(scripts_postprocessing.ScriptPostprocessing):
        name = extras.TITLE
        # behind whatever makes pictures larger, or mends faces
        order = 100_000

        def ui(self) -> dict[str, Any]:
            return extras_panel.build(extras.TITLE, extras.ENABLED, extras.ATLAS)

        def process_firstpass(self, pp: Any, **values: Any) -> None:
            extras.begin(pp, values)

        def process(self, pp: Any, **values: Any) -> None:
            extras.end(pp)

    script_callbacks.on_app_started(lambda demo, app: webui_extras.install(app, extras.atlas))
    return LayerDiffuseFinish


# of two copies of this extension, the one whose package was loaded
if HERE == Path(next(iter(lib_layerdiffusion.__path__))).resolve().parent:
    try:
        LayerDiffuseFinish = build()
    except Exception as error:
        logger.warning("LayerDiffuse Finish is not in the Extras tab (%s: %s).", type(error).__name__, error)
