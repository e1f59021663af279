"""Other extensions in the same job: what they do stays, and what cannot go together is said."""

from __future__ import annotations

import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from lib_layerdiffusion.errors import UnsupportedMethod
from lib_layerdiffusion.files.layer_patch import Offset
from lib_layerdiffusion.methods import METHODS, SD15
from miniature.nets.random_weights import BaseModel, base_state_dict, load_base
from miniature.webui.host import MiniatureHost
from miniature.webui.processing import Processed, WebUI
from tests.helpers.fresh_networks import fresh
from tests.helpers.jobs import CONDITIONED, DECODING, arguments, pixels, request
from tests.helpers.scripts import ModelTaker, OtherScript

SDXL_METHOD = DECODING[0]
SD15_METHOD = next(method for method in METHODS if method.family is SD15)
BOX = slice(10, 40), slice(20, 50)


class FaceRepair(OtherScript):
    """Paints a part of the picture over, as ADetailer, ReActor and face restorers do."""

    colour = (250, 30, 120)

    def postprocess_image(self, p: Any, pp: Any, *args: Any) -> None:
        edited = np.array(pp.image.convert("RGB"))
        edited[BOX] = self.colour
        pp.image = Image.fromarray(edited)


class Enlarger(OtherScript):
    def postprocess_image(self, p: Any, pp: Any, *args: Any) -> None:
        pp.image = pp.image.resize((pp.image.width * 2, pp.image.height * 2), Image.Resampling.LANCZOS)


class Remover(OtherScript):
    """Clears a part of the picture, as background removers do."""

    def postprocess_image(self, p: Any, pp: Any, *args: Any) -> None:
        cut = np.array(pp.image.convert("RGBA"))
        cut[BOX] = 0
        pp.image = Image.fromarray(cut)


class UserLora(OtherScript):
    """Adds to a weight of the UNet, as a LoRA or a script like FreeU does."""

    name = "diffusion_model.input_blocks.1.0.in_layers.2.weight"

    def process_before_every_sampling(self, p: Any, *args: Any, **kwargs: Any) -> None:
        clone = p.webui.patcher.clone()
        shape = clone.shared.shapes()[self.name]
        delta = torch.full(shape, 0.05)
        clone.patches.append(("another", 1.0, {self.name: Offset(delta)}))
        p.webui.patcher = clone


class RegionalPrompts(OtherScript):
    def process_before_every_sampling(self, p: Any, *args: Any, **kwargs: Any) -> None:
        p.webui.patcher = p.webui.patcher.clone()
        p.webui.patcher.attention_replaced = True


Run = Callable[..., Processed]


@pytest.fixture
def run(webui: WebUI, script: Any) -> Run:
    """Run a job with other scripts before and after ours."""

    def run(
        args: Any, before: tuple[Any, ...] = (), after: tuple[Any, ...] = (), **settings: Any
    ) -> Processed:
        p = request(webui, script, args, **settings)
        p.scripts = [*before, script, *after]
        return webui.answer(p)

    return run


def test_an_edit_is_in_the_colours_and_not_in_the_alpha(run: Run) -> None:
    args = arguments(SDXL_METHOD)
    plain, edited = pixels(run(args))[0], pixels(run(args, after=(FaceRepair(),)))[0]
    assert np.array_equal(edited[..., 3], plain[..., 3])
    assert (edited[BOX][..., :3] == FaceRepair.colour).all()
    outside = np.ones(plain.shape[:2], bool)
    outside[BOX] = False
    assert np.array_equal(edited[outside], plain[outside])
    assert (plain[BOX][..., :3] != FaceRepair.colour).any()


@pytest.mark.parametrize("other", [FaceRepair, Enlarger, UserLora])
def test_order_of_scripts_does_not_matter(run: Run, other: type) -> None:
    args = arguments(SDXL_METHOD)
    first, last = (run(args, **{place: (other(),)}) for place in ("before", "after"))
    difference = np.abs(pixels(first) - pixels(last)).max()
    # patches that are added up in another order differ in the last bit
    assert difference <= (1 if other is UserLora else 0)


def test_the_preview_shows_the_edit(run: Run) -> None:
    plain, edited = (
        run(arguments(SDXL_METHOD), after=others).extra_images[0] for others in ((), (FaceRepair(),))
    )
    change = np.abs(np.asarray(edited).astype(int) - np.asarray(plain)).max(axis=2)
    assert change[BOX].max() > 0
    change[BOX] = 0
    # the edited picture was rounded once more
    assert change.max() <= 1


def test_an_enlarged_picture_keeps_its_transparency(run: Run) -> None:
    args = arguments(SDXL_METHOD)
    small, large = run(args).images[0], run(args, after=(Enlarger(),)).images[0]
    assert large.size == (small.width * 2, small.height * 2)
    assert large.mode == "RGBA"
    back = np.asarray(large.getchannel("A").resize(small.size, Image.Resampling.BOX)).astype(int)
    assert np.abs(back - np.asarray(small.getchannel("A"))).mean() < 8


@pytest.mark.parametrize("place", ["before", "after"])
def test_what_another_script_cleared_is_clear(run: Run, place: str) -> None:
    args = arguments(SDXL_METHOD)
    plain, cleared = pixels(run(args))[0], pixels(run(args, **{place: (Remover(),)}))[0]
    assert (cleared[BOX][..., 3] == 0).all()
    cleared[BOX][..., 3] = plain[BOX][..., 3]
    assert (cleared == plain).all()


def test_an_edit_is_in_an_inpainted_picture(run: Run) -> None:
    mask = Image.new("L", (64, 64), 0)
    mask.paste(255, (16, 8, 56, 48))
    settings = {"init_images": [Image.new("RGBA", (64, 64), (9, 99, 199, 255))], "image_mask": mask}
    args = arguments(SDXL_METHOD)
    for place in ("before", "after"):
        edited = pixels(run(args, **{place: (FaceRepair(),)}, **settings))[0]
        plain = pixels(run(args, **settings))[0]
        assert (edited[BOX][..., :3] == FaceRepair.colour).all()
        assert np.array_equal(edited[..., 3], plain[..., 3])
        assert (edited[0, 0] == (9, 99, 199, 255)).all()


def test_faces_restored_by_the_host_are_in_the_colours(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """It works before any script's turn."""
    args = arguments(SDXL_METHOD)
    plain = pixels(run(args))[0]
    finish = WebUI._finish

    def restore(self: WebUI, p: Any, image: Image.Image) -> Any:
        pp = SimpleNamespace(image=image)
        FaceRepair().postprocess_image(p, pp)
        return finish(self, p, pp.image)

    monkeypatch.setattr(WebUI, "_finish", restore)
    edited = pixels(run(args))[0]
    assert np.array_equal(edited[..., 3], plain[..., 3])
    assert (edited[BOX][..., :3] == FaceRepair.colour).all()


@pytest.mark.parametrize("place", ["before", "after"])
def test_the_effect_of_a_users_lora_stays(run: Run, place: str) -> None:
    other: dict[str, Any] = {place: (UserLora(),)}
    for method in (SDXL_METHOD, CONDITIONED[0]):
        args = arguments(method)
        ours, both, theirs = pixels(run(args)), pixels(run(args, **other)), pixels(run(None, **other))
        assert np.abs(ours - both).max() > 3
        assert np.abs(theirs - both[..., :3]).max() > 3
    off = run(None)
    assert pixels(off).tolist() == pixels(run(None)).tolist()


@pytest.mark.parametrize("place", ["before", "after"])
def test_a_model_that_was_taken_away_is_patched_again(run: Run, place: str) -> None:
    taker: dict[str, Any] = {place: (ModelTaker(),)}
    for method in (SDXL_METHOD, CONDITIONED[0]):
        args = arguments(method)
        assert np.array_equal(pixels(run(args, **taker)), pixels(run(args)))


def test_replaced_attention_is_refused_where_it_is_shared(
    base15: BaseModel, host: MiniatureHost, script: Any
) -> None:
    webui = WebUI(fresh(base15))
    host.family = "sd15"
    p = request(webui, script, arguments(SD15_METHOD))
    p.scripts = [RegionalPrompts(), script]
    with pytest.raises(UnsupportedMethod, match="replaces the model's attention"):
        webui.answer(p)


def test_replaced_attention_goes_with_sdxl(run: Run) -> None:
    assert run(arguments(SDXL_METHOD), before=(RegionalPrompts(),)).images[0].mode == "RGBA"


def test_other_checkpoints_between_jobs(
    base: BaseModel, base15: BaseModel, host: MiniatureHost, script: Any
) -> None:
    """One script object for all of them, as in a host; each result is that of a fresh start."""
    webuis = {"sdxl": WebUI(fresh(base)), "sd15": WebUI(fresh(base15))}
    methods = {"sdxl": CONDITIONED[-1], "sd15": SD15_METHOD}
    seen: dict[str, bytes] = {}
    for family in ("sdxl", "sd15", "sdxl", "sd15"):
        host.family = family
        result = webuis[family].process_images(request(webuis[family], script, arguments(methods[family])))
        assert seen.setdefault(family, result.images[0].tobytes()) == result.images[0].tobytes()


def other_vae() -> Any:
    return load_base(base_state_dict(seed=2)).vae


def test_another_vae_between_jobs(webui: WebUI, script: Any, base: BaseModel) -> None:
    args = arguments(CONDITIONED[0])
    first = webui.process_images(request(webui, script, args)).images[0].tobytes()
    own, other = webui.base.vae, other_vae()
    webui.base = webui.base._replace(vae=other)
    started = WebUI(fresh(base)._replace(vae=other))
    expected = started.process_images(request(started, script, args)).images[0].tobytes()
    assert webui.process_images(request(webui, script, args)).images[0].tobytes() == expected != first
    webui.base = webui.base._replace(vae=own)
    assert webui.process_images(request(webui, script, args)).images[0].tobytes() == first


def test_hires_with_another_checkpoint(
    webui: WebUI, script: Any, host: MiniatureHost, base: BaseModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its VAE encodes the condition pictures of its own pass, also where the size stays the same."""
    encoded: list[str] = []
    posterior = MiniatureHost.posterior

    def watch(self: MiniatureHost, p: Any, given: torch.Tensor) -> Any:
        encoded.append(host.base_model(p).title)
        return posterior(self, p, given)

    class Switch(OtherScript):
        def process_before_every_sampling(self, p: Any, *args: Any, **kwargs: Any) -> None:
            host.title = "the second" if p.is_hr_pass else "the first"

    monkeypatch.setattr(MiniatureHost, "posterior", watch)
    p = request(webui, script, arguments(CONDITIONED[0]), enable_hr=True, hr_scale=1.0)
    p.scripts = [Switch(), script]
    webui.process_images(p)
    assert encoded == ["the first", "the second"]


def test_hires_with_a_checkpoint_of_another_family(webui: WebUI, script: Any, host: MiniatureHost) -> None:
    class Switch(OtherScript):
        def process_before_every_sampling(self, p: Any, *args: Any, **kwargs: Any) -> None:
            host.family = "sd15" if p.is_hr_pass else "sdxl"

    p = request(webui, script, arguments(SDXL_METHOD), enable_hr=True)
    p.scripts = [Switch(), script]
    with pytest.raises(Exception, match="needs an SDXL checkpoint"):
        webui.answer(p)


@pytest.mark.parametrize("is_api", [True, False])
def test_the_preview_is_in_the_answer_of_every_api(
    webui: WebUI, script: Any, host: MiniatureHost, is_api: bool
) -> None:
    """That of reForge leaves a job's extra pictures out."""
    host.api_answers_extra_images = False
    p = request(webui, script, arguments(SDXL_METHOD))
    p.__dict__["is_api"] = is_api
    result = webui.process_images(p)
    modes = [image.mode for image in result.images], [image.mode for image in result.extra_images]
    assert modes == ((["RGBA", "RGB"], []) if is_api else (["RGBA"], ["RGB"]))
    assert len(json.loads(result.js())["infotexts"]) == 2
