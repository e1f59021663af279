"""A plug-in of pytest for an environment whose packages are newer than those that gradio 4.40 was made for.

gradio asks huggingface_hub for a class that 1.0 dropped, for a login that no test makes. Hosts that have
the newest of all other packages stay below 1.0 for that; here both are tried at once.
"""

from __future__ import annotations

import huggingface_hub

if not hasattr(huggingface_hub, "HfFolder"):
    huggingface_hub.HfFolder = None
