"""The SD1.5 methods as a whole: control picture, Weight, Stop At, sizes, and files that do not fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from lib_layerdiffusion.errors import UnsupportedBaseModel, WrongWeights
from lib_layerdiffusion.methods import Method
from miniature.nets.random_weights import BaseModel
from miniature.webui.host import MiniatureHost
from miniature.webui.processing import WebUI
from miniature.webui.script import load_script
from tests.helpers.fresh_networks import fresh
from tests.helpers.jobs import SDXL_METHODS, arguments, picture, request
from tests.helpers.sd15_jobs import BG2FG, FG2BG, JOINT, SD15_METHODS, Generate, colours, name
from tests.job.test_wrong_use import change_file


@pytest.mark.parametrize("method", [FG2BG, BG2FG], ids=name)
def test_control_picture_matters(generate15: Generate, method: Method) -> None:
    first = colours(generate15(arguments(method)))
    assert (colours(generate15(arguments(method))) == first).all()
    short = "fg_image" if method is FG2BG else "bg_image"
    turned = np.ascontiguousarray(picture()[::-1])
    assert (colours(generate15(arguments(method, **{short: turned}))) != first).any(axis=(1, 2, 3)).all()


@pytest.mark.parametrize("method", SD15_METHODS, ids=name)
def test_weight_and_stop_at(generate15: Generate, method: Method) -> None:
    def run(**changes: float) -> np.ndarray:
        return colours(generate15(arguments(method, **changes), steps=4))

    off = colours(generate15(steps=4, batch_size=method.frames))

    def differs_from_off(result: np.ndarray) -> bool:
        # a decoded frame shows the decoder's colours; the others are the host's own pixels
        return bool((result[-1] != off[-1]).any())

    if method.frames > 1:
        assert (run(weight=0)[-1] == off[-1]).all()
        assert (run(ending_step=0)[-1] == off[-1]).all()
    full = run()
    assert (run(ending_step=1.0) == full).all()
    for partly in (run(weight=0.5), run(weight=2), run(ending_step=0.5)):
        assert differs_from_off(partly)
        assert (partly != full).any()


@pytest.mark.parametrize("method", [BG2FG, JOINT], ids=name)
def test_highres_pass(generate15: Generate, method: Method) -> None:
    result = generate15(arguments(method), enable_hr=True)
    assert [image.size for image in result.images] == [(128, 128)] * method.frames
    assert result.images[0].mode == "RGBA"


@pytest.mark.parametrize(("width", "height"), [(200, 264), (72, 136)])
def test_any_size(generate15: Generate, width: int, height: int) -> None:
    assert {image.size for image in generate15(arguments(FG2BG), width=width, height=height).images} == {
        (width, height)
    }


def test_method_on_another_family(models_dir: Path, webui15: WebUI) -> None:
    script = load_script(lambda: MiniatureHost(models_dir, family="sdxl"))
    with pytest.raises(UnsupportedBaseModel, match=r"needs an SD1\.5 checkpoint"):
        webui15.answer(request(webui15, script, arguments(JOINT)))


@pytest.mark.parametrize("change", ["missing", "surplus", "other method"])
def test_damaged_file(own_files: Path, webui15: WebUI, change: str) -> None:
    if change == "missing":
        change_file(own_files, name(JOINT), lambda t: t.pop("hookers.layers.31.temporal_o.bias"))
    elif change == "surplus":
        change_file(own_files, name(JOINT), lambda t: t.update({"x": torch.zeros(1)}))
    else:
        folder = own_files / "layer_model"
        (folder / f"{name(FG2BG)}.safetensors").replace(folder / f"{name(JOINT)}.safetensors")
    script = load_script(lambda: MiniatureHost(own_files, family="sd15"))
    with pytest.raises(WrongWeights, match=r"layer_sd15_joint\.safetensors"):
        webui15.answer(request(webui15, script, arguments(JOINT)))


def test_switching_families_in_one_process_gives_the_same_bytes(
    models_dir: Path, base: BaseModel, base15: BaseModel
) -> None:
    """One host object, and so one set of networks, through SD1.5, SDXL and SD1.5 again."""
    host = MiniatureHost(models_dir)
    script = load_script(lambda: host)

    def run(family: str, method: Method) -> list[bytes]:
        host.family = family
        webui = WebUI(fresh(base15 if family == "sd15" else base))
        return [i.tobytes() for i in webui.process_images(request(webui, script, arguments(method))).images]

    order = [("sd15", JOINT), ("sdxl", SDXL_METHODS[0]), ("sd15", JOINT), ("sdxl", SDXL_METHODS[0])]
    first_sd15, first_sdxl, second_sd15, second_sdxl = [run(*step) for step in order]
    assert first_sd15 == second_sd15
    assert first_sdxl == second_sdxl
