"""A job that fails leaves nothing in memory where networks are not to be kept."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest
from PIL import Image

from lib_layerdiffusion.job import hooks
from lib_layerdiffusion.transparency import codec, ways
from miniature.webui.host import MiniatureHost
from miniature.webui.patcher import Patcher
from miniature.webui.processing import WebUI
from tests.helpers.jobs import DECODING, arguments, picture, request

INIT = Image.fromarray(picture(width=64, height=64))

PLACES = {
    "decode": (ways, "decode_rgba"),
    "encode": (codec, "encode_offset"),
    "patch": (MiniatureHost, "patch_weights"),
    "sampling": (Patcher, "evaluate"),
    "preparing": (hooks.infotext, "write"),
    "loading": (codec.Codec, "load_encoder"),
}


@pytest.mark.parametrize("place", PLACES)
def test_a_job_that_fails(
    webui: WebUI, script: Any, host: MiniatureHost, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """Also while the host still has the error, as it does until the next one."""
    host.settings["layerdiffuse_keep_networks"] = False
    used: list[weakref.ref[Any]] = []
    adopt = MiniatureHost.adopt

    def watch(self: MiniatureHost, network: Any, full_precision: bool = False) -> Any:
        used.append(weakref.ref(network))
        return adopt(self, network, full_precision)

    def fail(*args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("the card is on fire")

    monkeypatch.setattr(MiniatureHost, "adopt", watch)
    monkeypatch.setattr(*PLACES[place], fail)
    p = request(webui, script, arguments(DECODING[0]), init_images=[INIT], denoising_strength=0.5)
    with pytest.raises(Exception, match="on fire") as caught:
        webui.answer(p)
    assert caught.value is not None
    gc.collect()
    assert used
    assert [network() for network in used] == [None] * len(used)
    assert script.handlers.networks._layer_file is None
    assert not [name for name in vars(p) if name.startswith("_layerdiffuse")]
