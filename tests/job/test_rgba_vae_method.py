"""Jobs of the method whose VAE has four image channels: what is sampled is what is decoded, alpha and all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from lib_layerdiffusion.errors import LayerDiffuseError
from lib_layerdiffusion.files import lora, tensors
from lib_layerdiffusion.files.layer_patch import merge
from lib_layerdiffusion.methods import ANIMA, FOLDER, METHODS
from lib_layerdiffusion.models.rgba_vae import RgbaVae
from lib_layerdiffusion.pictures.arithmetic import pad_colour
from lib_layerdiffusion.transparency.rgba_codec import RgbaCodec
from miniature.nets import rgba_member
from miniature.nets.random_weights import BaseModel
from miniature.webui import passes
from miniature.webui.host import MiniatureHost
from miniature.webui.images import resize_image
from miniature.webui.processing import Processed, Processing, WebUI
from miniature.webui.script import load_script
from tests.helpers.fresh_networks import fresh
from tests.helpers.jobs import arguments, notes, picture, pixels, request

(METHOD,) = (method for method in METHODS if method.family is ANIMA)


@pytest.fixture(scope="module")
def model() -> BaseModel:
    return rgba_member.base_model(1)


@pytest.fixture
def host(models_dir: Path) -> MiniatureHost:
    return MiniatureHost(models_dir, family=ANIMA.key)


@pytest.fixture
def webui(model: BaseModel) -> WebUI:
    return WebUI(fresh(model))


@pytest.fixture(scope="module")
def vae(models_dir: Path) -> RgbaVae:
    path = models_dir / FOLDER / ANIMA.decoder.filename
    return RgbaVae.from_state_dict(tensors.state_dict(path)).eval().requires_grad_(False).float()


class Seen:
    """A script of somebody else's that keeps what was sampled, and which prompts were encoded."""

    def __init__(self) -> None:
        self.latents: list[Tensor] = []
        self.texts: list[list[str]] = []

    def post_sample(self, p: Processing, ps: Any, *args: Any) -> None:
        self.latents.append(ps.samples)

    def process_before_every_sampling(self, p: Processing, *args: Any, **kwargs: Any) -> None:
        self.texts.append(p.hr_prompts if p.is_hr_pass else p.prompts)

    def on_cfg_denoiser(self, params: Any) -> None:
        """Not of interest."""

    def on_before_image_saved(self, params: Any) -> None:
        """Nor this."""


@pytest.fixture
def run(webui: WebUI, host: MiniatureHost) -> Callable[..., tuple[Processed, Processing, Seen]]:
    def answered(args: list[Any] | None = None, **settings: Any) -> tuple[Processed, Processing, Seen]:
        p = request(webui, load_script(lambda: host), args, **settings)
        seen = Seen()
        p.scripts = [*p.scripts, seen]
        return webui.answer(p), p, seen

    return answered


def ours(**changes: Any) -> list[Any]:
    return arguments(METHOD, **changes)


def decoded(vae: RgbaVae, webui: WebUI, latent: Tensor) -> np.ndarray:
    """What the network itself makes of sampled latents, [B, H, W, 4]."""
    found = (vae.decode(webui.base.vae.process_out(latent)) + 1) / 2
    return (found.clamp(0, 1) * 255).permute(0, 2, 3, 1).numpy()


def test_pictures_are_the_network_on_what_was_sampled(run: Any, webui: WebUI, vae: RgbaVae) -> None:
    result, p, seen = run(ours(), batch_size=2)
    assert [image.mode for image in result.images] == ["RGBA", "RGBA"]
    wanted = decoded(vae, webui, seen.latents[0])
    assert np.abs(pixels(result) - wanted).max() <= 1
    assert 0 < wanted[..., 3].mean() < 255
    assert notes(p) == []


def test_the_model_is_that_with_the_lora_merged(run: Any, webui: WebUI, models_dir: Path) -> None:
    _, _, seen = run(ours(weight=0.5, trigger_words=False))
    state = tensors.state_dict(models_dir / FOLDER / METHOD.weights.filename)
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    model = webui.original.shared.shapes()
    for name, patch in lora.patches(state, lora.fit(shapes, model, "", "")).items():
        weight = webui.original.shared.parameters[name]
        weight.data = merge(webui.original.shared._original.get(name, weight.data), [(patch, 0.5)])
    webui.original.shared._original.clear()
    webui.original.shared._merged = []
    _, _, merged = run(None)
    torch.testing.assert_close(seen.latents[0], merged.latents[0], rtol=1e-4, atol=1e-4)


def test_nothing_is_left_behind(run: Any, webui: WebUI) -> None:
    before = pixels(run(None)[0])
    run(ours())
    assert np.array_equal(pixels(run(None)[0]), before)


@pytest.mark.parametrize("off", [{"weight": 0.0}, {"ending_step": 0.0}])
def test_without_weight_what_is_sampled_is_the_models_own(run: Any, off: dict[str, float]) -> None:
    _, _, plain = run(None)
    _, _, seen = run(ours(trigger_words=False, **off))
    assert torch.equal(seen.latents[0], plain.latents[0])


def test_stop_at_goes_on_with_the_models_own_weights(run: Any) -> None:
    latents = [
        run(ours(trigger_words=False, ending_step=end), steps=4)[2].latents[0] for end in (0.0, 0.5, 1.0)
    ]
    assert not torch.equal(latents[1], latents[0])
    assert not torch.equal(latents[1], latents[2])


# --- words
@pytest.mark.parametrize(
    ("prompt", "encoded"),
    [
        ("a cup", "transparent background, a cup"),
        ("a cup, Transparent Background", "a cup, Transparent Background"),
        ("a cup (transparent background:1.3)", "a cup (transparent background:1.3)"),
        ("a cup AND a bird :0.5", "transparent background, a cup AND transparent background, a bird :0.5"),
        ("", "transparent background"),
    ],
)
def test_words_join_the_prompt_where_they_are_missing(run: Any, prompt: str, encoded: str) -> None:
    result, _, seen = run(ours(), prompt=prompt)
    assert seen.texts == [[encoded]]
    text = result.infotexts[0]
    assert text.startswith(prompt)
    assert text.lower().count("transparent background") == prompt.lower().count("transparent background")


def test_words_may_be_left_out(run: Any) -> None:
    result, _, seen = run(ours(trigger_words=False), prompt="a cup")
    assert seen.texts == [["a cup"]]
    assert "layerdiffusion_trigger_words: False" in result.infotexts[0]
    assert "trigger_words" not in run(ours())[0].infotexts[0]


def test_a_highres_pass_gets_the_words_too(run: Any, webui: WebUI, vae: RgbaVae) -> None:
    result, _, seen = run(ours(), prompt="a cup", hr_prompt="a mug", enable_hr=True, hr_scale=2.0)
    assert seen.texts[0] == ["transparent background, a cup"]
    assert seen.texts[-1] == ["transparent background, a mug"]
    assert result.images[0].size == (128, 128)
    assert result.images[0].mode == "RGBA"


def test_the_lora_in_the_prompt_is_said_to_work_twice(run: Any) -> None:
    _, p, _ = run(ours(), prompt="a cup <lora:anima_rgba_lora:1>")
    assert len(notes(p)) == 1
    assert "works twice" in notes(p)[0]


# --- pictures to begin with
def encoded(vae: RgbaVae, rgba: np.ndarray) -> Tensor:
    alpha = rgba[..., 3:].astype(np.float32) / 255
    x = torch.from_numpy(np.concatenate([pad_colour(rgba), alpha], axis=2)).permute(2, 0, 1)[None]
    return vae.encode(2 * x - 1)


def test_img2img_begins_with_what_the_network_encodes(
    run: Any, webui: WebUI, vae: RgbaVae, monkeypatch: pytest.MonkeyPatch
) -> None:
    rgba = picture(width=64, height=64)
    _, p, _ = run(ours(), init_images=[Image.fromarray(rgba)], batch_size=2, denoising_strength=0.5)
    wanted = webui.base.vae.process_in(encoded(vae, rgba))
    assert p.init_latent is not None
    assert len(p.init_latent) == 2
    torch.testing.assert_close(p.init_latent[:1], wanted, rtol=1e-4, atol=1e-4)


def test_inpainting_keeps_what_is_outside(run: Any) -> None:
    rgba = picture(width=64, height=64)
    mask = Image.new("L", (64, 64), 0)
    mask.paste(255, (16, 16, 40, 40))
    result, _, _ = run(ours(), init_images=[Image.fromarray(rgba)], image_mask=mask)
    made, inside = pixels(result)[0], np.asarray(mask) > 0
    assert np.array_equal(made[~inside], rgba[~inside])
    assert not np.array_equal(made[inside], rgba[inside])


def test_an_upscaler_of_pixels_gets_our_colours_and_the_highres_pass_our_alpha(
    run: Any, webui: WebUI, vae: RgbaVae, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[Tensor] = []
    sample_pass = passes.sample_pass

    def seen(p: Processing, start: Tensor, *args: Any) -> Tensor:
        begun.append(start)
        return sample_pass(p, start, *args)

    monkeypatch.setattr(passes, "sample_pass", seen)
    settings = {"enable_hr": True, "hr_upscaler": "Lanczos", "hr_scale": 2.0, "batch_size": 2, "n_iter": 2}
    result, p, _ = run(ours(), **settings)
    assert [(image.mode, image.size) for image in result.images] == [("RGBA", (128, 128))] * 4
    assert notes(p) == []
    plain = run(ours(), batch_size=2, n_iter=2)[0]
    for batch in (0, 1):
        for number in (0, 1):
            rgba = np.asarray(plain.images[2 * batch + number])
            opaque = Image.fromarray((pad_colour(rgba) * 255).astype(np.uint8))
            colour = np.asarray(resize_image(0, opaque, 128, 128))
            alpha = np.asarray(resize_image(0, plain.images[2 * batch + number], 128, 128))[..., 3:]
            wanted = encoded(vae, np.concatenate([colour, alpha], axis=2))
            found = webui.base.vae.process_out(begun[2 * batch + 1][number][None])
            # colours are cut off to whole levels on the way
            assert (found - wanted).abs().mean() < 0.02 * wanted.std()


def test_a_vae_that_somebody_changes_between_the_passes_is_noticed(
    run: Any, webui: WebUI, monkeypatch: pytest.MonkeyPatch
) -> None:
    upscale = passes._upscale

    def changed(*args: Any) -> Tensor:
        vars(webui).pop("encode")
        return upscale(*args)

    monkeypatch.setattr(passes, "_upscale", changed)
    with pytest.raises(LayerDiffuseError, match="while the picture was encoded"):
        run(ours(), enable_hr=True, hr_upscaler="Lanczos", hr_scale=2.0)


def test_a_finished_picture_may_be_upscaled(run: Any) -> None:
    first = run(ours())[0].images[0]
    for upscaler in ("Latent", "Lanczos"):
        result, _, _ = run(ours(), enable_hr=True, hr_upscaler=upscaler, firstpass_image=first, hr_scale=2.0)
        assert (result.images[0].mode, result.images[0].size) == ("RGBA", (128, 128))


def test_a_background_that_stays_gets_the_advice_for_this_method(
    run: Any, webui: WebUI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RgbaCodec, "decode", lambda codec, latent: np.ones((64, 64, 4), np.float32))
    _, p, _ = run(ours())
    (verdict,) = p.comments
    assert 'The background is there, not transparent. Write "(transparent background:1.3)" into' in verdict
    assert "injection" not in verdict


# --- what does not fit
def test_another_checkpoint_is_refused(run: Any, host: MiniatureHost) -> None:
    host.family = "sdxl"
    with pytest.raises(LayerDiffuseError, match="needs an Anima checkpoint"):
        run(ours())


def test_a_host_without_such_models_says_so(run: Any, host: MiniatureHost) -> None:
    host.lacks = (ANIMA.key,)
    with pytest.raises(LayerDiffuseError, match="has no Anima models"):
        run(ours())


def test_a_lora_of_another_model_is_refused(run: Any, host: MiniatureHost, own_files: Path) -> None:
    from safetensors.torch import save_file

    path = own_files / FOLDER / METHOD.weights.filename
    part = "diffusion_model.blocks.40.mlp.layer1"
    save_file(
        {f"{part}.lora_A.weight": torch.zeros(2, 8), f"{part}.lora_B.weight": torch.zeros(8, 2)}, str(path)
    )
    host._models_dir = own_files
    with pytest.raises(LayerDiffuseError, match="does not fit"):
        run(ours())


def test_the_ordinary_vae_is_refused(run: Any, host: MiniatureHost, own_files: Path) -> None:
    from safetensors.torch import save_file

    path = own_files / FOLDER / ANIMA.decoder.filename
    save_file(rgba_member.vae_state_dict(1, 3), str(path))
    host._models_dir = own_files
    with pytest.raises(LayerDiffuseError, match="the ordinary VAE, not the transparent one"):
        run(ours())
