"""Whole jobs in the miniature WebUI, from script arguments to the delivered pictures."""

from __future__ import annotations

import copy
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from lib_layerdiffusion.methods import Layer, Method
from lib_layerdiffusion.transparency import ways
from miniature.webui.host import MiniatureHost
from miniature.webui.processing import Processed, Processing, WebUI
from tests.helpers.jobs import CONDITIONED, DECODING, SDXL_METHODS, arguments, picture, pixels, request

Generate = Callable[..., Processed]


def method_name(method: Method) -> str:
    return method.weights.name


@pytest.mark.parametrize("method", SDXL_METHODS, ids=method_name)
def test_every_method_delivers_its_layer(generate: Generate, method: Method) -> None:
    plain = pixels(generate())
    result = generate(arguments(method))
    (image,) = result.images
    assert image.mode == ("RGBA" if method.decodes_alpha else "RGB")
    assert image.size == (64, 64)
    assert [extra.mode for extra in result.extra_images] == (["RGB"] if method.decodes_alpha else [])
    assert (pixels(result)[..., :3] != plain).any()
    assert f"layerdiffusion_method: {method.label}" in result.infotexts[0]
    if method.decodes_alpha:
        assert np.asarray(image)[..., 3].std() > 1


@pytest.mark.parametrize("method", CONDITIONED, ids=method_name)
def test_every_condition_picture_matters_and_is_encoded_alike_each_time(
    generate: Generate, method: Method
) -> None:
    given = {layer: picture(layer) for layer in method.pictures}
    first = pixels(generate(arguments(method)))
    assert (pixels(generate(arguments(method))) == first).all()
    names = {Layer.FOREGROUND: "fg_image", Layer.BACKGROUND: "bg_image", Layer.BLENDED: "blend_image"}
    for layer in given:
        other = np.ascontiguousarray(given[layer][::-1])
        other[..., :3] = 255 - other[..., :3]
        changed = generate(arguments(method, **{names[layer]: other}))
        assert (pixels(changed) != first).any(), layer


def test_condition_latents_join_in_table_order(generate: Generate, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.Tensor] = []
    condition = MiniatureHost.condition

    def spy(self: MiniatureHost, p: Any, unet: Any, original: Any, concat: Any, *rest: Any) -> None:
        seen.append(concat)
        condition(self, p, unet, original, concat, *rest)

    monkeypatch.setattr(MiniatureHost, "condition", spy)
    by_picture = {}
    for label in ("(SDXL) From Foreground to Blending", "(SDXL) From Background to Blending"):
        method = next(m for m in CONDITIONED if m.label == label)
        generate(arguments(method))
        by_picture[method.pictures[0]] = seen.pop()
    for method in (m for m in CONDITIONED if len(m.pictures) == 2):
        generate(arguments(method))
        joined = seen.pop()
        assert joined.shape == (1, 8, 8, 8)
        assert torch.equal(joined[:, :4], by_picture[method.pictures[0]])


@pytest.mark.parametrize("method", [DECODING[0], CONDITIONED[0], CONDITIONED[-1]], ids=method_name)
def test_batch_of_four_equals_four_single_pictures(generate: Generate, method: Method) -> None:
    batch = pixels(generate(arguments(method), batch_size=4))
    assert len(batch) == 4
    for n, one in enumerate(batch):
        single = pixels(generate(arguments(method), seed=1 + n))[0]
        # a network's sums differ in their last bits between batch sizes
        assert np.abs(one - single).max() <= 2, n
        assert all((one != other).any() for m, other in enumerate(batch) if m != n)


def test_batch_count_continues_the_seeds(generate: Generate) -> None:
    result = generate(arguments(), n_iter=2, batch_size=2)
    singles = [pixels(generate(arguments(), seed=1 + n))[0] for n in range(4)]
    assert np.abs(pixels(result) - np.stack(singles)).max() <= 2
    assert len(result.extra_images) == 4


def test_one_processing_object_run_twice_gives_each_run_its_own_picture(
    webui: WebUI, script: Any, generate: Generate
) -> None:
    p = request(webui, script, arguments())
    first = webui.process_images(p)
    p.seed = 9
    second = webui.process_images(p)
    assert (pixels(second) == pixels(generate(arguments(), seed=9))).all()
    assert (pixels(second) != pixels(first)).any()
    assert len(second.extra_images) == 1
    assert second.extra_images[0] is not first.extra_images[0]


def test_copies_of_one_processing_object_do_not_share_pictures(
    webui: WebUI, script: Any, generate: Generate
) -> None:
    p = request(webui, script, arguments())
    cells = []
    for seed in (3, 4, 5):
        cell = copy.copy(p)
        cell.seed = seed
        cells.append(webui.process_images(cell))
    for seed, cell_result in zip((3, 4, 5), cells, strict=True):
        assert (pixels(cell_result) == pixels(generate(arguments(), seed=seed))).all()
        assert len(cell_result.extra_images) == 1


def test_a_script_that_runs_a_copy_in_the_middle_disturbs_nothing(
    webui: WebUI, script: Any, generate: Generate
) -> None:
    class Detailer:
        """Hands a copied job to every script, as scripts do that generate a part again."""

        def postprocess_batch(self, p: Processing, *args: Any, **kwargs: Any) -> None:
            script.post_sample(copy.copy(p), SimpleNamespace(samples=torch.zeros(1, 4, 8, 8)))

        def __getattr__(self, name: str) -> Any:
            return lambda *args, **kwargs: None

    p = request(webui, script, arguments())
    p.scripts = [script, Detailer()]
    assert (pixels(webui.process_images(p)) == pixels(generate(arguments()))).all()


@pytest.mark.parametrize(("width", "height"), [(200, 264), (72, 64), (64, 72), (24, 8), (328, 136)])
def test_any_size_decodes_at_its_own_size(generate: Generate, width: int, height: int) -> None:
    (image,) = generate(arguments(), width=width, height=height).images
    assert (image.mode, image.size) == ("RGBA", (width, height))


def test_thousand_pixels(generate: Generate) -> None:
    (image,) = generate(arguments(), width=1000, height=200, steps=1).images
    assert (image.mode, image.size) == ("RGBA", (1000, 200))


def test_highres_pass_is_decoded_at_its_size_from_its_own_latents(generate: Generate) -> None:
    result = generate(arguments(), enable_hr=True, batch_size=2, n_iter=2)
    assert [(i.mode, i.size) for i in result.images] == [("RGBA", (128, 128))] * 4
    assert len({i.tobytes() for i in result.images}) == 4
    for n in (0, 3):
        single = pixels(generate(arguments(), enable_hr=True, seed=1 + n))[0]
        assert np.abs(pixels(result)[n] - single).max() <= 2


def test_highres_pass_is_patched_with_conditions_of_its_size(generate: Generate) -> None:
    method = CONDITIONED[0]
    result = pixels(generate(arguments(method), enable_hr=True))
    assert result.shape == (1, 128, 128, 3)
    inverted = picture()
    inverted[..., :3] = 255 - inverted[..., :3]
    assert (pixels(generate(arguments(method, fg_image=inverted), enable_hr=True)) != result).any()


def test_decoder_gets_the_latent_of_vae_space(
    webui: WebUI, generate: Generate, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampled: list[torch.Tensor] = []
    decoded: list[torch.Tensor] = []
    decode = ways.decode_rgba

    def spy(decoder: Any, latent: torch.Tensor, *others: Any) -> Any:
        decoded.append(latent)
        return decode(decoder, latent, *others)

    def keep(self: WebUI, latents: torch.Tensor) -> torch.Tensor:
        sampled.append(latents)
        return WebUI_decode(self, latents)

    WebUI_decode = WebUI.decode
    monkeypatch.setattr(ways, "decode_rgba", spy)
    monkeypatch.setattr(WebUI, "decode", keep)
    generate(arguments())
    torch.testing.assert_close(decoded[0], sampled[0][0] / 0.13025)


def test_nothing_is_left_after_a_generation(
    make_webui: Callable[[], WebUI], webui: WebUI, script: Any, generate: Generate
) -> None:
    fresh = make_webui()
    expected = fresh.process_images(request(fresh, script)).images[0].tobytes()
    for method in SDXL_METHODS:
        generate(arguments(method, ending_step=0.5))
        after = generate()
        assert after.images[0].tobytes() == expected, method.label
        assert after.images[0].mode == "RGB"
        assert "layerdiffusion" not in after.infotexts[0]
        assert after.extra_images == []


def test_weight_and_stop_at(generate: Generate) -> None:
    method = CONDITIONED[0]

    def run(**changes: float) -> np.ndarray:
        return pixels(generate(arguments(method, **changes), steps=4))

    off = pixels(generate(steps=4))
    full = run()
    assert (run(weight=0) == off).all()
    assert (run(ending_step=0) == off).all()
    assert (run(ending_step=1.0) == full).all()
    for partly in (run(weight=0.5), run(weight=2), run(ending_step=0.5)):
        assert (partly != off).any()
        assert (partly != full).any()
    assert (run(ending_step=0.5) == run(ending_step=0.5)).all()


def test_weight_zero_still_decodes(generate: Generate) -> None:
    assert generate(arguments(weight=0)).images[0].mode == "RGBA"


def test_infotext_does_not_stay_on_a_reused_processing_object(webui: WebUI, script: Any) -> None:
    p: Processing = request(webui, script, arguments())
    webui.process_images(p)
    p.script_args = [False]
    result = webui.process_images(p)
    assert "layerdiffusion" not in result.infotexts[0]
    assert result.images[0].mode == "RGB"
    assert result.extra_images == []
