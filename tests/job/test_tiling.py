"""Pictures that go on at their opposite border, with the host's "Tiling": no seam in the transparency."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torch import Tensor

from lib_layerdiffusion.job.hidden_alpha import BesideColours
from miniature.webui.host import MiniatureHost
from miniature.webui.processing import Processing, WebUI
from tests.helpers.jobs import DECODING, arguments, picture, request

SHIFT = 64, 64
"""Half a picture of 128 x 128: what was its border is its middle."""
ROUNDING = 6


def shifted(p: Processing) -> Processing:
    """The same job over noise whose border and middle have changed places."""
    noise = p.noise

    def elsewhere(shape: Sequence[int], offset: int = 0) -> Tensor:
        return noise(shape, offset).roll([side // 8 for side in SHIFT], (2, 3))

    p.noise = elsewhere  # type: ignore[method-assign]
    return p


def differences(webui: WebUI, script: Any, **settings: Any) -> np.ndarray:
    """How much a picture's channels change, [H, W, 4], when it is made with its border in the middle."""
    args = arguments(DECODING[0])
    jobs = [request(webui, script, args, width=128, height=128, **settings) for _ in range(2)]
    here, there = (webui.process_images(p).images[0] for p in (jobs[0], shifted(jobs[1])))
    back = np.roll(np.asarray(there).astype(int), [-side for side in SHIFT], (0, 1))
    return np.abs(np.asarray(here).astype(int) - back)


def test_a_tiling_picture_has_no_border(webui: WebUI, script: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever it is cut, it is the same picture: colours and transparency."""
    assert differences(webui, script, tiling=True).max() <= ROUNDING
    assert differences(webui, script).max() > 5 * ROUNDING
    # the host's own part is not enough
    monkeypatch.setattr(MiniatureHost, "tiles", lambda self, p: False)
    assert differences(webui, script, tiling=True)[..., 3].max() > 5 * ROUNDING


def test_the_next_job_is_an_ordinary_one_again(webui: WebUI, script: Any) -> None:
    def run(**settings: Any) -> bytes:
        p = request(webui, script, arguments(DECODING[0]), **settings)
        return bytes(webui.process_images(p).images[0].tobytes())

    before = run()
    assert run(tiling=True) != before
    assert run() == before


def offsets(webui: WebUI, script: Any, init: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> Tensor:
    """What a job with tiling hides in the latent of its init picture."""
    found: list[Tensor] = []
    offset = BesideColours.offset

    def watch(self: BesideColours, p: Any, rgba: np.ndarray) -> Tensor:
        found.append(offset(self, p, rgba))
        return found[-1]

    with monkeypatch.context() as patch:
        patch.setattr(BesideColours, "offset", watch)
        args, pictures = arguments(DECODING[0]), [Image.fromarray(init)]
        webui.process_images(request(webui, script, args, init_images=pictures, tiling=True))
    return found[0]


def test_an_init_picture_has_no_border(webui: WebUI, script: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    init = np.random.default_rng(1).integers(0, 256, (64, 64, 4), np.uint8)
    # the colours of what is clear are filled in from all around
    init[..., 3] = 255
    here, there = (offsets(webui, script, one, monkeypatch) for one in (init, np.roll(init, 32, (0, 1))))
    assert (there.roll((-4, -4), (2, 3)) - here).abs().max() < 1e-4


def test_the_masked_part_of_a_picture_is_not_a_tiling_one(
    webui: WebUI, script: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    mask = Image.new("L", (128, 128), 0)
    mask.paste(255, (16, 8, 56, 48))
    init = Image.fromarray(picture(width=128, height=128))

    def run(**settings: Any) -> list[bytes]:
        args = arguments(DECODING[0])
        p = request(webui, script, args, tiling=True, init_images=[init], image_mask=mask, **settings)
        return [image.tobytes() for image in webui.process_images(p).images]

    whole, part = run(), run(inpaint_full_res=True)
    monkeypatch.setattr(MiniatureHost, "tiles", lambda self, p: False)
    assert run(inpaint_full_res=True) == part
    assert run() != whole
