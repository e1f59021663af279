"""python -m lib_layerdiffusion try over the trained miniature: all right, and each fault that is put in."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lib_layerdiffusion.hosts import saved_files
from lib_layerdiffusion.job import generation, previews
from lib_layerdiffusion.methods import FOLDER, METHODS, SDXL, WEIGHT_FILES
from lib_layerdiffusion.trial import report
from lib_layerdiffusion.trial.jobs import Jobs
from lib_layerdiffusion.trial.main import ALL_RIGHT, COULD_NOT_RUN, INTERRUPTED, SOMETHING_WRONG
from miniature.webui import images
from miniature.webui.host import MiniatureHost
from miniature.webui.site import Site
from tests.helpers import hub_server

Attempt = Callable[..., int]
Plant = Callable[[pytest.MonkeyPatch, Site], None]

ONE = ("--methods", "layer_xl_transparent_attn", "--no-times")
NAME = METHODS[4].label


def test_all_right_and_a_report(
    attempt: Attempt, site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "report"
    tried = ("layer_xl_transparent_attn", "layer_xl_bg2ble", "layer_sd15_fg2bg")
    both = ("--checkpoint", "sdxl", "--checkpoint", "sd15", "--report", str(folder))
    assert attempt(*both, "--methods", *tried) == ALL_RIGHT
    shown = capsys.readouterr().out
    lines = [line for line in shown.splitlines() if line.startswith("[")]
    for method in (method for method in METHODS if method.weights.name in tried):
        (line,) = [line for line in lines if f"] {method.label}: " in line]
        assert "form right" in line
    assert site.trained.host.family == SDXL.key
    told = json.loads((folder / "report.json").read_text("utf-8"))
    assert told["all_right"] is True
    assert {case["state"] for case in told["cases"]} <= {"ok", "weak", "note"}
    assert [file["name"] for file in told["files"] if file["size"]] == [file.name for file in WEIGHT_FILES]
    times = told["times"][SDXL.key]
    assert sorted(times["decode"]) == ["1", "2", "4", "8", "adaptive"]
    assert times["per_pass"][0] > 0
    markdown = (folder / "report").with_suffix(".md").read_text("utf-8")
    (row,) = [line for line in markdown.splitlines() if line.startswith("| 20")]
    assert row.count(" | ") == report.header().splitlines()[0].count(" | ")
    with Image.open(folder / "sheet.png") as sheet:
        assert sheet.info == {}
        assert sheet.width > 900
    private = (str(Path.home()), str(site.trained.host.models_dir()), "127.0.0.1", "red apple")
    assert [text for text in private if text in markdown or text in json.dumps(told)] == []


def test_a_vae_of_four_image_channels(
    attempt: Attempt, site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    """At 64 pixels the miniature's LoRA leaves the background: what is said of that is not the subject."""
    attempt("--checkpoint", "anima", "--methods", "anima", "--no-times")
    shown = capsys.readouterr().out
    assert "Files: ok, 2 of 2 are there" in shown
    assert "round trip of a known picture: ok" in the_case(shown, "Anima: round trip")
    assert "saved pictures: ok" in the_case(shown, "Anima: saved pictures")
    assert "foreground RGBA" in the_case(shown, "(Anima) Only Generate")
    assert "time of the decode" not in shown
    assert site.trained.host.family == SDXL.key


def the_case(shown: str, name: str) -> str:
    (line,) = [line for line in shown.splitlines() if re.match(r"\[\d+/\d+\] ", line) and f"] {name}" in line]
    return line


def planted_scale(monkeypatch: pytest.MonkeyPatch, site: Site) -> None:
    monkeypatch.setattr(MiniatureHost, "to_vae", lambda self, p, latent: latent)


def planted_swap(monkeypatch: pytest.MonkeyPatch, site: Site) -> None:
    own = generation.to_uint8
    monkeypatch.setattr(generation, "to_uint8", lambda rgba: own(rgba[..., [2, 1, 0, 3]]))


def planted_preview(monkeypatch: pytest.MonkeyPatch, site: Site) -> None:
    own = previews.show

    def show_and_save(host: Any, p: Any, picture: Image.Image, number: int) -> None:
        own(host, p, picture, number)
        if not p.do_not_save_samples:
            images.save_image(p.extra_result_images[-1], p.webui.outputs)

    monkeypatch.setattr(previews, "show", show_and_save)


def _saves(monkeypatch: pytest.MonkeyPatch, change: Callable[[Image.Image], Image.Image]) -> None:
    own = images.save_image
    changed = saved_files.remembered(lambda image, *args, **more: own(change(image), *args, **more))
    monkeypatch.setattr(images, "save_image", changed)


def planted_opaque_file(monkeypatch: pytest.MonkeyPatch, site: Site) -> None:
    _saves(monkeypatch, lambda image: image.convert("RGB"))


def planted_stealth(monkeypatch: pytest.MonkeyPatch, site: Site) -> None:
    """As a writer that hides a text in alpha does: in place, so that the answer loses it too."""

    def in_place(image: Image.Image) -> Image.Image:
        image.putalpha(255)
        return image

    _saves(monkeypatch, in_place)


def planted_leak(monkeypatch: pytest.MonkeyPatch, site: Site) -> None:
    own = MiniatureHost.patch_weights

    def patch_both(self: MiniatureHost, unet: Any, identity: str, patches: Any, strength: float) -> int:
        site.trained.webui.original.patches.append((identity, strength, patches))
        return own(self, unet, identity, patches, strength)

    monkeypatch.setattr(MiniatureHost, "patch_weights", patch_both)


def _answers(monkeypatch: pytest.MonkeyPatch, site: Site, change: Callable[[dict[str, Any]], None]) -> None:
    own = site.answer

    def answer(path: str, request: Mapping[str, Any]) -> Mapping[str, Any]:
        told = dict(own(path, request))
        if "layer_xl" in json.dumps(request) or NAME in json.dumps(request):
            change(told)
        return told

    monkeypatch.setattr(site, "answer", answer)


def planted_number(monkeypatch: pytest.MonkeyPatch, site: Site) -> None:
    _answers(monkeypatch, site, lambda told: told["images"].insert(1, told["images"][0]))


def planted_infotext(monkeypatch: pytest.MonkeyPatch, site: Site) -> None:
    def change(told: dict[str, Any]) -> None:
        told["info"] = told["info"].replace("layerdiffusion_weight: 1.0", "layerdiffusion_weight: 0.3")

    _answers(monkeypatch, site, change)


TRIP, SAVED = "SDXL: round trip", "SDXL: saved pictures"
FAULTS: dict[Plant, tuple[str, str]] = {
    planted_scale: (TRIP, "Likely cause: wrong latent scale: alpha is nearly the same everywhere"),
    planted_swap: (TRIP, "Likely cause: swapped channels: red and blue are swapped."),
    planted_preview: (SAVED, "2 pictures were saved in place of 1: previews are saved."),
    planted_opaque_file: (SAVED, "Alpha is lost on save: the file is PNG, RGB."),
    planted_stealth: (SAVED, "The answer loses its transparency when it is saved: RGBA, alpha 255"),
    planted_leak: (NAME, "Something is left behind: the next job with LayerDiffuse off differs by "),
    planted_number: (NAME, "Wrong number of layers: 3 pictures came in place of 1 layer and 1 preview."),
    planted_infotext: (NAME, "Its infotext gives another picture: "),
}


@pytest.mark.parametrize(
    "plants",
    # two at a time where neither is seen by what sees the other
    [
        (planted_scale, planted_opaque_file),
        (planted_swap, planted_preview),
        (planted_stealth, planted_infotext),
        (planted_leak,),
        (planted_number,),
    ],
    ids=lambda plants: " and ".join(plant.__name__ for plant in plants),
)
def test_a_fault_is_found_and_named(
    attempt: Attempt,
    site: Site,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    plants: tuple[Plant, ...],
) -> None:
    for plant in plants:
        plant(monkeypatch, site)
    try:
        assert attempt(*ONE) == SOMETHING_WRONG
    finally:
        site.trained.webui.original.patches.clear()
    shown = capsys.readouterr().out
    for plant in plants:
        case, sentence = FAULTS[plant]
        line = the_case(shown, case)
        assert ": WRONG, " in line
        assert sentence in line
    if len(plants) == 2:
        # and in nothing else
        assert len(re.findall(r"^\[.*: WRONG, ", shown, re.M)) == 2


def test_nothing_of_a_fault_is_left_for_other_tests(
    attempt: Attempt, capsys: pytest.CaptureFixture[str]
) -> None:
    assert attempt(*ONE) == ALL_RIGHT
    assert "WRONG" not in capsys.readouterr().out


def only_some_files(
    site: Site, models: Path, monkeypatch: pytest.MonkeyPatch, without: Sequence[str]
) -> Path:
    """Give the WebUI a folder of models without the layer files whose names hold one of these; return it."""
    folder = models / FOLDER
    folder.mkdir()
    for file in (site.trained.host.models_dir() / FOLDER).glob("*.safetensors"):
        if not any(part in file.name for part in without):
            (folder / file.name).symlink_to(file)
    monkeypatch.setattr(site.trained.host, "_models_dir", models)
    return folder


def test_methods_whose_files_are_missing(
    attempt: Attempt,
    site: Site,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Those that were not named are left out; those that were are a fault; nothing is fetched unasked."""
    name = "layer_xl_transparent_attn.safetensors"
    folder = only_some_files(site, tmp_path, monkeypatch, without=("attn.", "conv."))
    assert attempt("--methods", "layer_xl_transparent_attn") == COULD_NOT_RUN
    shown = capsys.readouterr()
    assert (
        "Files: WRONG, 2 of 3 are there; missing: layer_xl_transparent_attn (743 MB), which --fetch"
        in shown.out
    )
    assert shown.err == "There is no method whose weight files are there; --fetch has them fetched.\n"
    assert not (folder / name).exists()
    monkeypatch.setattr(pytest.importorskip("huggingface_hub.constants"), "HF_HUB_OFFLINE", True)
    assert attempt(*ONE, "--fetch") == SOMETHING_WRONG
    shown = capsys.readouterr()
    assert "Files: note, 2 of 3 are there; 743 MB will be fetched: layer_xl_transparent_attn\n" in shown.out
    assert "The WebUI refused it with status 500: layer_xl_transparent_attn" in the_case(shown.out, NAME)


def test_a_missing_file_is_fetched_when_that_is_said(
    attempt: Attempt,
    site: Site,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name = "layer_xl_transparent_attn.safetensors"
    own = site.trained.host.models_dir() / FOLDER
    folder = only_some_files(site, tmp_path, monkeypatch, without=("attn.", "conv."))
    with hub_server.serve() as hub:
        hub.files = {name: (own / name).read_bytes()}
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        assert attempt(*ONE, "--fetch") == ALL_RIGHT
        assert len(hub.downloads) == 1
    assert "Files: note, 2 of 3 are there; 743 MB will be fetched" in capsys.readouterr().out
    assert (folder / name).read_bytes() == (own / name).read_bytes()


def test_ctrl_c_leaves_the_report_of_what_was_done(
    attempt: Attempt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*args: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(Jobs, "round_trip", interrupted)
    assert attempt(*ONE, "--report", str(tmp_path)) == INTERRUPTED
    told = json.loads((tmp_path / "report.json").read_text("utf-8"))
    assert [case["name"] for case in told["cases"]] == ["Files", "SDXL: LayerDiffuse off"]
    assert "Interrupted." in capsys.readouterr().out


def test_a_contact_sheet_has_every_picture_over_a_checkerboard() -> None:
    from lib_layerdiffusion.pictures import png, sample
    from lib_layerdiffusion.trial import sheet

    drawn = sample.transparent(64, 64)
    made = sheet.sheet([drawn] * 7)
    pixels = np.asarray(Image.open(io.BytesIO(png.write(made))))
    assert pixels.shape == (made.height, made.width, 3)
    step = sheet.TILE + sheet.GAP
    tiles = [
        pixels[top : top + sheet.TILE, left : left + sheet.TILE]
        for top in (sheet.GAP + sheet.LABEL, 2 * sheet.GAP + sheet.TILE + 2 * sheet.LABEL)
        for left in (sheet.GAP + column * step for column in range(5))
    ]
    assert all((tile == tiles[0]).all() for tile in tiles[:7])
    assert {tuple(tiles[0][0, 0]), tuple(tiles[0][0, sheet.SQUARE])} == {
        (sheet.LIGHT,) * 3,
        (sheet.DARK,) * 3,
    }
    assert (tiles[7] == sheet.PAPER).all()
