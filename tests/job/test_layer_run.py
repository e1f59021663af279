"""The script that makes a stack of layers: what is run, shown, saved, told, and left behind."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lib_layerdiffusion.errors import GenerationFailed, Interrupted, LayerDiffuseError
from lib_layerdiffusion.hosts import forge_saving
from lib_layerdiffusion.job import wardrobe
from lib_layerdiffusion.job.layer_results import ANSWER_KEY, NOTES_KEY
from lib_layerdiffusion.methods import SDXL
from miniature.webui import infotext_format
from miniature.webui.host import MiniatureHost
from miniature.webui.processing import Processed, WebUI
from miniature.webui.state import state
from tests.helpers.jobs import arguments, picture, pixels, request
from tests.helpers.layer_readers import from_ora

Run = Callable[..., Processed]
TWO = {"objects": "red apple\nstar"}


@pytest.fixture
def run(webui: WebUI, script: Any, host: MiniatureHost) -> Run:
    """Run the script with these values by name, over jobs of one step at 64x64."""

    def run(values: dict[str, Any], panel: list[Any] | None = None, **settings: Any) -> Processed:
        p = request(webui, script, panel, **{"steps": 1, "prompt": "meadow", "seed": 5, **settings})
        return webui.answer(p, script.layers.run, values)

    return run


@pytest.fixture
def jobs(webui: WebUI, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The jobs that were run."""
    run: list[Any] = []
    original = webui.process_images

    def process_images(p: Any) -> Processed:
        run.append(p)
        return original(p)

    monkeypatch.setattr(webui, "process_images", process_images)
    return run


def places(result: Processed) -> list[str]:
    return [infotext_format.read(text)["layerdiffusion_stack"] for text in result.infotexts]


def test_gallery_has_the_composite_then_each_layer(run: Run) -> None:
    result = run(TWO)
    assert [image.mode for image in result.images] == ["RGB", "RGB", "RGBA", "RGBA"]
    assert places(result) == [
        "composite of 5 layers", "background 1 of 5", "object 3 of 5", "object 5 of 5"
    ]  # fmt: skip
    kept = run({**TWO, "keep_between": True})
    assert places(kept)[1:] == [
        "background 1 of 5", "blending 2 of 5", "object 3 of 5", "blending 4 of 5", "object 5 of 5"
    ]  # fmt: skip


def test_composite_is_every_object_over_the_background(run: Run) -> None:
    composite, background, *objects = run(TWO).images
    expected = background.convert("RGBA")
    for one in objects:
        expected = Image.alpha_composite(expected, one)
    assert np.abs(np.asarray(composite, int) - np.asarray(expected.convert("RGB"), int)).max() <= 2


def test_a_layer_made_again_from_its_infotext_is_the_same(
    run: Run, generate: Callable[..., Processed]
) -> None:
    result = run({**TWO, "keep_between": True})
    _, background, blended, apple, _, _ = result.images
    written = infotext_format.read(result.infotexts[3])
    again = generate(
        arguments(
            written["layerdiffusion_method"],
            weight=float(written["layerdiffusion_weight"]),
            ending_step=float(written["layerdiffusion_ending_step"]),
            bg_image=np.asarray(background),
            blend_image=np.asarray(blended),
        ),
        prompt=result.infotexts[3].partition("\n")[0],
        seed=int(written["Seed"]),
        steps=int(written["Steps"]),
    )
    assert np.array_equal(np.asarray(again.images[0]), np.asarray(apple))


@pytest.mark.parametrize(("choice", "differs"), [("composite", True), ("blended", False)])
def test_the_next_object_goes_into_what_was_chosen(
    run: Run, jobs: list[Any], choice: str, differs: bool
) -> None:
    result = run({**TWO, "go_on_with": choice, "keep_between": True})
    given = np.asarray(jobs[3].layerdiffuse_axes[1]["bg_image"])[..., :3]
    blended = np.asarray(result.images[2])
    assert np.array_equal(given, blended) is not differs


def test_seeds(run: Run, jobs: list[Any]) -> None:
    run(TWO, n_iter=2)
    assert [p.seed for p in jobs] == [5] * 5 + [6] * 5
    jobs.clear()
    run({**TWO, "seeds": "counted"}, batch_size=2)
    assert [p.seed for p in jobs] == list(range(5, 15))


def test_only_steps_over_two_pictures_get_the_chosen_sampler(run: Run, jobs: list[Any]) -> None:
    run({"objects": "star"})
    assert [getattr(p, "sampler_name", "") for p in jobs] == ["", "", "Euler a"]
    jobs.clear()
    run({"objects": "star", "sampler": "as above"})
    assert not any(hasattr(p, "sampler_name") for p in jobs)


def test_the_panel_has_no_part_in_it(run: Run) -> None:
    """Whatever it says: each step has its own values, and the background is an ordinary picture."""
    ours, plain = (run({"objects": "star"}, panel) for panel in (arguments(weight=0.3), None))
    for one, other in zip(ours.images, plain.images, strict=True):
        assert np.array_equal(np.asarray(one), np.asarray(other))


def test_the_job_after_it_is_as_before_the_first(run: Run, generate: Callable[..., Processed]) -> None:
    before = pixels(generate())
    run(TWO)
    assert np.array_equal(pixels(generate()), before)


def test_a_given_background(run: Run, jobs: list[Any]) -> None:
    background = picture(width=64, height=64)
    result = run({"objects": "star", "bg_image": background})
    assert len(jobs) == 2
    assert places(result) == ["composite of 3 layers", "object 2 of 2"]


def test_background_from_img2img(run: Run, jobs: list[Any]) -> None:
    init = Image.fromarray(picture(width=90, height=64)[..., :3])
    run({"objects": "star"}, init_images=[init], resize_mode=1)
    assert [bool(p.init_images) for p in jobs] == [False, False]
    middle = np.asarray(init.crop((13, 0, 77, 64)))
    given = jobs[0].layerdiffuse_axes[1]["bg_image"]
    assert np.abs(given[..., :3].astype(int) - middle).max() <= 1


def test_layered_file_beside_the_composite(run: Run, webui: WebUI, tmp_path: Path) -> None:
    webui.outputs = tmp_path
    result = run(TWO)
    (path,) = tmp_path.glob("*.psd")
    assert f"Layers: {path}" in result.comments
    with Image.open(path.with_suffix(".png")) as file:
        assert "composite of 5 layers" in file.info["parameters"]
    with Image.open(path) as file:
        assert [layer[0] for layer in file.layers] == [
            "meadow", "red apple (blended)", "red apple", "star (blended)", "star"
        ]  # fmt: skip
    # every picture that is shown, and no in-between one
    assert len(list(tmp_path.glob("*.png"))) == 4


def test_no_layered_file_where_none_is_wanted_or_nothing_is_saved(
    run: Run, webui: WebUI, host: MiniatureHost, tmp_path: Path
) -> None:
    webui.outputs = tmp_path
    run({"objects": "star"}, do_not_save_samples=True)
    host.settings["layerdiffuse_layer_files"] = "none"
    run({"objects": "star"})
    assert list(tmp_path.glob("*.psd")) == []
    host.settings["layerdiffuse_layer_files"] = "PSD and ORA"
    run({"objects": "star"})
    assert {path.suffix for path in tmp_path.iterdir()} == {".png", ".psd", ".ora"}


def test_layered_files_in_the_answer(run: Run) -> None:
    result = run({"objects": "star", "layers": "PSD and ORA"}, n_iter=2)
    told = json.loads(result.js())["extra_generation_params"][ANSWER_KEY]
    assert [sorted(one) for one in told] == [["ora", "psd"]] * 2
    stack, merged = from_ora(base64.b64decode(told[1]["ora"]))
    assert [layer.visible for layer in stack.layers()] == [True, False, True]
    composites = [
        image for image, place in zip(result.images, places(result), strict=True) if "comp" in place
    ]
    assert np.array_equal(merged[..., :3], np.asarray(composites[1]))
    with Image.open(io.BytesIO(base64.b64decode(told[0]["psd"]))) as file:
        assert file.size == (64, 64)


def test_interrupt_keeps_what_is_finished(run: Run, host: MiniatureHost, monkeypatch: Any) -> None:
    """In the second object: the background and the first are delivered."""
    said: list[str] = []

    def report(text: str, fraction: float | None) -> None:
        said.append(text)
        state.interrupted = "step 4" in text

    monkeypatch.setattr(host, "report", report)
    result = run(TWO)
    assert places(result) == ["composite of 3 layers", "background 1 of 5", "object 3 of 5"]
    (note,) = result.extra_generation_params[NOTES_KEY]
    assert note in result.comments
    assert "was interrupted in step 4 of 5: star in the picture" in note
    assert [text for text in said if text.startswith("step")] == [
        "step 1 of 5: the background (meadow)",
        "step 2 of 5: red apple in the picture",
        "step 3 of 5: red apple alone",
        "step 4 of 5: star in the picture",
    ]


def test_interrupt_before_anything_is_finished(run: Run, host: MiniatureHost, monkeypatch: Any) -> None:
    monkeypatch.setattr(host, "report", lambda text, fraction: setattr(state, "interrupted", True))
    with pytest.raises(Interrupted, match="step 1 of 5"):
        run(TWO)


def test_a_step_that_fails_ends_the_run_with_what_there_is(
    run: Run, script: Any, host: MiniatureHost, monkeypatch: Any, tmp_path: Path, webui: WebUI
) -> None:
    webui.outputs = tmp_path
    networks, said = script.handlers.networks, [""]
    monkeypatch.setattr(host, "report", lambda text, fraction: said.append(text))

    def layer_file(method: Any) -> Any:
        if any(text.startswith("step 4") for text in said):
            raise GenerationFailed("The disk is gone.")
        return type(networks).layer_file(networks, method)

    monkeypatch.setattr(networks, "layer_file", layer_file)
    result = run(TWO)
    assert places(result) == ["composite of 3 layers", "background 1 of 5", "object 3 of 5"]
    assert "Not everything was made: The disk is gone." in result.comments
    assert len(list(tmp_path.glob("*.psd"))) == 1


@pytest.mark.parametrize(
    ("values", "settings", "sentence"),
    [
        ({}, {}, "has no object"),
        ({"objects": "star", "sampler": "Bogus"}, {}, 'has no sampler "Bogus". Choose one of: Euler a.'),
        (
            {"objects": "star", "bg_image": picture(width=50, height=64)},
            {},
            "The background picture has 50x64 pixels and the generation 64x64",
        ),
    ],
)
def test_one_sentence_before_the_first_step(
    run: Run, jobs: list[Any], values: dict[str, Any], settings: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(LayerDiffuseError) as caught:
        run(values, **settings)
    assert sentence in str(caught.value)
    assert jobs == []


def test_all_weight_files_are_fetched_before_the_first_step(
    run: Run, jobs: list[Any], script: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ensured: list[str] = []
    store = script.handlers.networks.store

    def ensure(file: Any) -> Any:
        if file is SDXL.decoder:
            raise GenerationFailed("It cannot be fetched.")
        ensured.append(file.name)

    monkeypatch.setattr(store, "ensure", ensure)
    with pytest.raises(LayerDiffuseError, match="cannot be fetched"):
        run({"objects": "star"})
    assert jobs == []
    assert ensured == ["layer_xl_bg2ble", "layer_xl_bgble2fg"]


def test_another_family(run: Run, host: MiniatureHost) -> None:
    host.family = ""
    with pytest.raises(LayerDiffuseError, match=r"needs a checkpoint of SD1\.5 or SDXL, but the miniature"):
        run(TWO)


def test_layers_of_another_size_end_the_run(run: Run) -> None:
    with pytest.raises(LayerDiffuseError, match="has 128x128 pixels and the one before 64x64"):
        run(
            {"objects": "star"}, init_images=[Image.new("RGB", (64, 64))], width=64, height=64, enable_hr=True
        )


def test_transparency_of_what_is_delivered_survives(run: Run) -> None:
    for image in run({"objects": "star"}).images:
        assert image.mode == "RGB" or forge_saving.is_ours(image) or image.getextrema()[3][0] == 255


def test_no_layer_file_is_merged_twice(run: Run, webui: WebUI) -> None:
    """The steps go back and forth between two or three, and to the model alone for the next background."""
    shared = webui.patcher.shared

    def merged(values: dict[str, Any], **settings: Any) -> int:
        shared.merged_bytes = 0
        run(values, **settings)
        return shared.merged_bytes

    once = merged({"objects": "star"})
    assert once > 0
    assert merged({"objects": "star\napple\ncup\nhat"}) <= once
    assert merged({"objects": "star"}, n_iter=3) <= once
    around = {"kind": "surroundings", "surroundings": "sea"}
    assert merged(around, n_iter=3) <= merged(around) * 1.01


def test_worn_weights_give_the_same_pictures(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Below Stop At too, where the model's own take the place of both."""
    values = {"objects": "star\napple", "blending_ending_step": 0.5, "object_ending_step": 0.5}
    worn = run(values, steps=4, n_iter=2)
    monkeypatch.setattr(wardrobe, "of", lambda p: None)
    merged = run(values, steps=4, n_iter=2)
    for one, other in zip(worn.images, merged.images, strict=True):
        assert np.array_equal(np.asarray(one), np.asarray(other))


def test_weights_are_not_worn_by_another_model(
    run: Run, webui: WebUI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MiniatureHost, "can_wear", lambda *args: False)
    webui.patcher.shared.merged_bytes = 0
    run({"objects": "star"})
    once = webui.patcher.shared.merged_bytes
    run({"objects": "star\napple"})
    assert webui.patcher.shared.merged_bytes - once > once
