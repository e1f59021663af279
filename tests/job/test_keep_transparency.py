"""Any model repaints a transparent picture, and its transparency comes back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from lib_layerdiffusion.errors import BadPicture, BadSetting, MissingPicture
from lib_layerdiffusion.methods import KEEP
from lib_layerdiffusion.pictures import backdrop
from lib_layerdiffusion.request import infotext, xyz_axes
from miniature.nets.random_weights import BaseModel
from miniature.webui import infotext_format, selectable
from miniature.webui.checkpoints import Checkpoint
from miniature.webui.host import MiniatureHost
from miniature.webui.images import resize_image
from miniature.webui.processing import Processed, WebUI
from miniature.webui.script import load_script
from tests.helpers.fresh_networks import fresh
from tests.helpers.jobs import DECODING, arguments, notes, picture, pixels, request
from tests.helpers.scripts import OtherScript
from tests.helpers.sd15_jobs import Generate as Generate15

Generate = Callable[..., Processed]

EXACT: dict[str, Any] = {"follow_new_edges": 0.0}


def subject(width: int = 64, height: int = 64) -> Image.Image:
    return Image.fromarray(picture(width=width, height=height))


def alpha_of(result: Processed) -> np.ndarray:
    return pixels(result)[..., 3]


@pytest.fixture
def generate_any(models_dir: Path, base: BaseModel) -> Generate:
    """With a checkpoint that no method was made for, in a folder without any weight file."""
    host = MiniatureHost(models_dir / "none", family="")
    webui, script = WebUI(fresh(base)), load_script(lambda: host)
    return lambda args=None, **settings: webui.answer(request(webui, script, args, **settings))


@pytest.fixture
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    """The host's own encode draws from the posterior without a seed; here it is the mean."""
    monkeypatch.setattr(torch, "randn_like", torch.zeros_like)


def test_the_same_request_gives_the_same_picture(generate: Generate) -> None:
    """Whatever anybody draws by chance meanwhile."""

    def run(seed: int) -> np.ndarray:
        torch.randn(3)
        return pixels(generate(arguments(KEEP), init_images=[subject()], seed=seed))

    first, again, other = run(5), run(5), run(6)
    assert (first == again).all()
    assert (first != other).any()


@pytest.mark.parametrize("steps", [1, 4])
def test_alpha_comes_back_byte_for_byte(generate: Generate, steps: int) -> None:
    result = generate(arguments(KEEP, **EXACT), init_images=[subject()], steps=steps)
    (image,) = result.images
    assert (image.mode, image.size) == ("RGBA", (64, 64))
    assert np.array_equal(np.asarray(image)[..., 3], np.asarray(subject())[..., 3])


def test_the_model_is_any(generate_any: Generate, generate15: Generate15) -> None:
    for run in (generate_any, generate15):
        result = run(arguments(KEEP, **EXACT), init_images=[subject()])
        assert (alpha_of(result)[0] == np.asarray(subject())[..., 3]).all()


@pytest.mark.usefixtures("still")
def test_the_model_samples_as_if_the_extension_were_off(generate: Generate) -> None:
    """What it sees is the picture on its backdrop; nothing of its latents or weights is touched."""
    rgba = np.asarray(subject())
    shown = Image.fromarray(backdrop.laid_on(rgba, backdrop.plain((127, 127, 127), 64, 64)))
    plain = pixels(generate(init_images=[shown]))
    kept = pixels(generate(arguments(KEEP, **EXACT, behind="grey"), init_images=[subject()]))
    opaque = rgba[..., 3] == 255
    assert opaque.sum() > 500
    assert (plain[0][opaque] == kept[0][opaque][:, :3]).all()
    again = pixels(generate(init_images=[shown]))
    assert (plain == again).all()


def test_behind_is_what_the_model_sees(
    webui: WebUI, generate: Generate, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, list[int]] = {}
    shown: list[torch.Tensor] = []
    original = webui.base.vae.moments

    def moments(x: torch.Tensor) -> Any:
        shown.append(x)
        return original(x)

    monkeypatch.setattr(webui.base.vae, "moments", moments)
    for behind in ("own colours", "grey", "white", "black", "#20a040"):
        generate(arguments(KEEP, behind=behind), init_images=[subject()])
        # a corner is behind all of it
        seen[behind] = ((shown[-1][0, :, 0, 0] + 1) * 127.5).round().int().tolist()
    assert seen["grey"] == [127] * 3
    assert seen["white"] == [255] * 3
    assert seen["black"] == [0] * 3
    assert seen["#20a040"] == [0x20, 0xA0, 0x40]
    red, green, blue = np.asarray(subject())[..., :3][np.asarray(subject())[..., 3] > 0].mean(axis=0)
    assert np.abs(np.array(seen["own colours"]) - (red, green, blue)).max() < 100


def test_every_picture_of_a_batch_has_its_own_alpha(generate: Generate) -> None:
    turned = subject().transpose(Image.Transpose.ROTATE_180)
    both = alpha_of(generate(arguments(KEEP, **EXACT), init_images=[subject(), turned], batch_size=2))
    assert [(a == np.asarray(one)[..., 3]).all() for a, one in zip(both, (subject(), turned), strict=True)]
    assert (both[0] != both[1]).any()
    many = alpha_of(generate(arguments(KEEP, **EXACT), init_images=[subject()], batch_size=2, n_iter=2))
    assert (many == np.asarray(subject())[..., 3]).all()
    assert len(many) == 4


@pytest.mark.parametrize("mode", [0, 1, 2])
def test_alpha_is_resized_as_the_host_does(generate: Generate, mode: int) -> None:
    init = subject(120, 80)
    alpha = alpha_of(generate(arguments(KEEP, **EXACT), init_images=[init], resize_mode=mode))[0]
    assert (alpha == np.asarray(resize_image(mode, init, 64, 64))[..., 3]).all()


def test_latent_upscale(generate: Generate) -> None:
    result = generate(arguments(KEEP, **EXACT), init_images=[subject(100, 76)], resize_mode=3)
    assert [(one.mode, one.size) for one in result.images] == [("RGBA", (64, 64))]


@pytest.mark.parametrize("only_masked", [False, True])
@pytest.mark.parametrize("follow", [0.0, 1.0])
def test_inpainting_changes_nothing_outside_the_mask(
    generate: Generate, only_masked: bool, follow: float
) -> None:
    original, mask = subject(100, 72), Image.new("L", (100, 72))
    mask.paste(255, (30, 20, 70, 50))
    settings = {"image_mask": mask, "inpaint_full_res": only_masked, "width": 104, "height": 72}
    if not only_masked:
        original, mask = subject(104, 72), mask.resize((104, 72))
        settings["image_mask"] = mask
    (after,) = pixels(generate(arguments(KEEP, follow_new_edges=follow), init_images=[original], **settings))
    before, outside = np.asarray(original), np.asarray(mask) == 0
    assert after.shape == before.shape
    assert (after[outside] == before[outside]).all()
    assert (after[~outside] != before[~outside]).any()


class Mover(OtherScript):
    """Makes of every picture the init picture as the model saw it, so many pixels to the right."""

    def __init__(self, shown: np.ndarray, by: int) -> None:
        self.moved = np.roll(shown, by, axis=1)

    def postprocess_image(self, p: Any, pp: Any, *args: Any) -> None:
        pp.image = Image.fromarray(self.moved)


@pytest.mark.parametrize("by", [0, 2])
def test_alpha_follows_what_moved(webui: WebUI, script: Any, by: int) -> None:
    init = picture(width=192, height=192)
    shown = backdrop.laid_on(init, backdrop.plain((127, 127, 127), 192, 192))
    settings = {"init_images": [Image.fromarray(init)], "denoising_strength": 0.75, "steps": 1}
    errors = []
    for follow in (0.0, 1.0):
        args = arguments(KEEP, follow_new_edges=follow, behind="grey")
        p = request(webui, script, args, width=192, height=192, **settings)
        p.scripts = [script, Mover(shown, by)]
        alpha = alpha_of(webui.answer(p))[0]
        errors.append(np.abs(alpha - np.roll(init[..., 3], by, axis=1)).mean())
    put_back, followed = errors
    assert followed < (0.7 * put_back if by else 0.1)


def test_the_backdrop_is_taken_out_of_the_colours(webui: WebUI, script: Any) -> None:
    init = picture(width=192, height=192)
    shown = backdrop.laid_on(init, backdrop.plain((0, 0, 255), 192, 192))
    p = request(webui, script, arguments(KEEP, behind="#0000ff"), width=192, height=192, steps=1)
    p.init_images, p.scripts = [Image.fromarray(init)], [script, Mover(shown, 0)]
    (result,) = pixels(webui.answer(p))
    soft = (init[..., 3] > 64) & (init[..., 3] < 192)
    assert soft.sum() > 500
    blue = shown[soft].astype(int)[:, 2] - init[soft].astype(int)[:, 2]
    assert blue.mean() > 30
    assert np.abs(result[soft][:, :3] - init[soft].astype(int)[:, :3]).mean() < 6


def test_loopback_goes_on_from_its_transparent_pictures(webui: WebUI, script: Any) -> None:
    p = request(webui, script, arguments(KEEP, **EXACT), init_images=[subject()])
    processed = selectable.run(selectable.loopback, p, 3)
    alphas = [np.asarray(one)[..., 3] for one in processed.images[1:]]
    assert len(alphas) == 3
    assert all((alpha == np.asarray(subject())[..., 3]).all() for alpha in alphas)


def test_an_xyz_plot_over_its_values(webui: WebUI, script: Any) -> None:
    def apply(cell: Any, follow: float) -> None:
        xyz_axes.put(cell, cell, {"follow_new_edges": follow})

    p = request(webui, script, arguments(KEEP, behind="grey"), init_images=[subject()], steps=4)
    processed = selectable.run(selectable.xyz_plot, p, apply, [0.0, 0.5])
    assert [image.mode for image in processed.images[1:]] == ["RGBA", "RGBA"]
    assert (np.asarray(processed.images[1])[..., 3] == np.asarray(subject())[..., 3]).all()
    assert "layerdiffusion_follow_new_edges: 0.5" in processed.infotexts[2]


def test_the_infotext_replays(generate: Generate) -> None:
    result = generate(arguments(KEEP, follow_new_edges=0.5, behind="#20a040"), init_images=[subject()])
    (text,) = result.infotexts
    for part in (
        "layerdiffusion_method: (Any) Keep Transparency",
        "layerdiffusion_follow_new_edges: 0.5",
        "layerdiffusion_behind: #20a040",
    ):
        assert part in text
    params = infotext_format.read(text)
    read = {name: key(params) for name, key in infotext.keys().items()}
    known = {name: value for name, value in read.items() if value is not None}
    again = generate(arguments(known.pop("method"), **known), init_images=[subject()])
    assert (pixels(again) == pixels(result)).all()
    assert "layerdiffusion_behind" not in generate(arguments(KEEP), init_images=[subject()]).infotexts[0]


def test_a_job_with_the_extension_off_is_what_it_was(generate: Generate) -> None:
    before = pixels(generate())
    generate(arguments(DECODING[0]))
    generate(arguments(KEEP), init_images=[subject()])
    assert (pixels(generate()) == before).all()


def test_after_a_method_nothing_of_it_samples(generate: Generate, base: BaseModel) -> None:
    """Also where a host goes on with a model as its last sampling left it, which it does with a refiner."""
    settings = {"init_images": [subject()], "steps": 4, "denoising_strength": 1.0, "refiner_switch_at": 0.5}
    alone = pixels(generate(arguments(KEEP), refiner=Checkpoint(fresh(base)), **settings))
    refiner = Checkpoint(fresh(base))
    generate(arguments(DECODING[0]), refiner=refiner, **settings)
    assert (pixels(generate(arguments(KEEP), refiner=refiner, **settings)) == alone).all()


@pytest.mark.parametrize(
    ("init", "sentence"),
    [
        (subject().convert("RGB"), "The init picture has no transparency"),
        (Image.new("RGBA", (64, 64)), "The init picture is empty"),
    ],
    ids=["opaque", "empty"],
)
def test_pictures_that_have_nothing_to_keep(generate: Generate, init: Image.Image, sentence: str) -> None:
    with pytest.raises(BadPicture, match=sentence):
        generate(arguments(KEEP), init_images=[init])
    assert generate(init_images=[init]).images[0].mode == "RGB"


def test_txt2img_has_no_picture(generate: Generate) -> None:
    with pytest.raises(MissingPicture, match=r"there is none; use it in img2img\.$"):
        generate(arguments(KEEP))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"behind": "a meadow"}, 'Behind (behind) of LayerDiffuse is "a meadow"'),
        ({"behind": "#12345"}, "or a colour such as #20a040"),
        ({"behind": "#20a04080"}, "or a colour such as #20a040"),
        ({"follow_new_edges": 2}, "Follow new edges"),
        ({"follow_new_edges": "much"}, "Follow new edges"),
    ],
)
def test_values_that_mean_nothing(generate: Generate, changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadSetting) as caught:
        generate(arguments(KEEP, **changes), init_images=[subject()])
    assert sentence in str(caught.value)


def test_denoising_of_one_works_and_says_so(webui: WebUI, script: Any) -> None:
    for strength, count in ((1.0, 1), (0.9, 0)):
        p = request(webui, script, arguments(KEEP), init_images=[subject()], denoising_strength=strength)
        result = webui.answer(p)
        assert result.images[0].mode == "RGBA"
        assert len([note for note in notes(p) if "little of the picture's shape" in note]) == count


def test_weight_and_stop_at_do_nothing(generate: Generate) -> None:
    results = [
        pixels(generate(arguments(KEEP, **changes), init_images=[subject()]))
        for changes in ({}, {"weight": 0.0}, {"ending_step": 0.0}, {"weight": 2.0})
    ]
    assert all((one == results[0]).all() for one in results)


def test_finishing_works_on_it(generate: Generate) -> None:
    (trimmed,) = generate(arguments(KEEP, trim=True), init_images=[subject()]).images
    assert trimmed.mode == "RGBA"
    assert trimmed.size < (64, 64)
