"""Pictures on their way through each host: encoded, resized, uploaded."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import create_autospec

import numpy as np
import pytest
import torch
from PIL import Image

from lib_layerdiffusion.errors import IncompatibleHost
from tests.helpers.jobs import picture
from tests.helpers.stub_hosts import BACKEND, Stubbed, _remember_arguments


def test_pictures_are_encoded_by_the_vae_itself(stubbed: Stubbed) -> None:
    p = stubbed.job()
    found = stubbed.adapter.posterior(p, torch.full((1, 16, 16, 3), 0.75))
    assert torch.equal(found.mean, torch.full((1, 4, 2, 2), 0.5))
    assert torch.equal(found.logvar, torch.full((1, 4, 2, 2), -0.5))
    assert stubbed.memory.load_models_gpu.call_args.args[0] == [p.sd_model.forge_objects.vae.patcher]
    latent = torch.ones(1, 4, 2, 2)
    assert torch.equal(stubbed.adapter.to_sampler(p, latent), latent * 0.5)
    assert torch.equal(stubbed.adapter.to_vae(p, latent), latent * 2)
    p.sd_model.forge_objects.vae.first_stage_model = object()
    with pytest.raises(IncompatibleHost, match="cannot encode with the selected VAE"):
        stubbed.adapter.posterior(p, torch.zeros(1, 16, 16, 3))


def test_init_pictures_go_through_us_and_nothing_stays(stubbed: Stubbed) -> None:
    p = stubbed.job()
    before = p.sd_model.forge_objects
    with stubbed.adapter.encode_with(p, lambda original, pixels: (original(pixels), pixels)):
        assert p.sd_model.forge_objects.vae.encode("pixels") == ("the host's own", "pixels")
    assert p.sd_model.forge_objects is before
    assert before.vae.encode("pixels") == "the host's own"


def test_resizing_keeps_alpha(stubbed: Stubbed) -> None:
    parameters = inspect.signature(stubbed.modules["modules.images"].resize_image).parameters

    def resize_image(mode: int, image: Image.Image, width: int, height: int, **options: Any) -> Image.Image:
        assert set(options) <= set(parameters)
        kept = image if options.get("force_RGBA") else image.convert("RGB")
        return kept.resize((width, height), Image.Resampling.NEAREST)

    stubbed.modules["modules.images"].resize_image = resize_image
    given = Image.fromarray(picture())
    found = stubbed.adapter.resize_init_image(0, given, 60, 50)
    assert np.array_equal(np.asarray(found), np.asarray(given.resize((60, 50), Image.Resampling.NEAREST)))


def test_colours_are_corrected_as_the_host_does(stubbed: Stubbed) -> None:
    processing = stubbed.modules["modules.processing"]
    processing.apply_color_correction = create_autospec(processing.apply_color_correction)
    p, given = stubbed.job(), Image.fromarray(picture())
    p.batch_index, p.color_corrections = 1, ["first", "second"]
    found = stubbed.adapter.colour_corrected(p, given)
    assert found is processing.apply_color_correction.return_value
    processing.apply_color_correction.assert_called_once_with("second", given)
    for none_for_this_one in (None, [], ["first"]):
        p.color_corrections = none_for_this_one
        assert stubbed.adapter.colour_corrected(p, given) is given


def test_upload_keeps_alpha(stubbed: Stubbed, monkeypatch: pytest.MonkeyPatch) -> None:
    if stubbed.key in BACKEND:
        canvas = stubbed.modules["modules_forge.forge_canvas.canvas"].ForgeCanvas
        _remember_arguments(canvas)
        canvas.background = SimpleNamespace(label="background")
        found = stubbed.adapter.image_input("Foreground", "some_id")
        assert found.label == "Foreground"
    else:
        gradio = ModuleType("gradio")
        # as gradio 3.41.2 has it, as far as it matters here
        gradio.Image = lambda *, label, elem_id, source, tool, type, image_mode, height: image_mode  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "gradio", gradio)
        assert stubbed.adapter.image_input("Foreground", "some_id") == "RGBA"


def test_tiling_counts_where_the_host_does_it(stubbed: Stubbed) -> None:
    """Forge (main) shows the switch and does nothing with it; Forge Neo has none."""
    p = stubbed.job()
    p.tiling = True
    assert stubbed.adapter.tiles(p) == (stubbed.key not in BACKEND)
    p.tiling = False
    assert not stubbed.adapter.tiles(p)


@pytest.mark.parametrize("layer", [None, "background"])
@pytest.mark.parametrize("kept", [True, False])
def test_a_picture_that_is_kept_is_written_with_alpha(
    stubbed: Stubbed, tmp_path: Path, kept: bool, layer: str | None
) -> None:
    """Also one that another script saves without an infotext; and named by its layer."""
    stubbed.modules["modules.shared"].opts = SimpleNamespace(data={})
    given = Image.fromarray(picture())
    if kept:
        stubbed.adapter.keep(given)
    if layer is not None:
        stubbed.adapter.name_layer(given, layer)
    params = SimpleNamespace(image=given, filename=str(tmp_path / "00000.jpg"), pnginfo=None)
    stubbed.adapter.before_image_saved(params)
    name = "00000" if layer is None else f"00000-{layer}"
    assert Path(params.filename) == tmp_path / f"{name}.{'png' if kept else 'jpg'}"
