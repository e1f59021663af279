"""What cannot work ends with one sentence before or during sampling, and leaves nothing behind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from lib_layerdiffusion.errors import (
    BadPicture,
    BadSetting,
    DownloadFailed,
    GenerationFailed,
    LayerDiffuseError,
    MissingPicture,
    UnsupportedBaseModel,
    UnsupportedMethod,
    WrongWeights,
)
from lib_layerdiffusion.files import download, layer_patch
from lib_layerdiffusion.methods import METHODS, SD15
from lib_layerdiffusion.weight_files import LAYERDIFFUSION
from miniature.webui.host import MiniatureHost
from miniature.webui.processing import Processed, Processing, WebUI
from miniature.webui.script import load_script
from tests.helpers.jobs import SDXL_METHODS, arguments, picture, request

Generate = Callable[..., Processed]
ATTENTION, CONVOLUTION, CONDITIONED = SDXL_METHODS[0], SDXL_METHODS[1], SDXL_METHODS[2]


@pytest.fixture
def refused(webui: WebUI, make_webui: Callable[[], WebUI]) -> Callable[..., str]:
    """Run a job that must be refused with `error`; return the sentence. Nothing may be left behind."""

    def run(host: MiniatureHost, error: type[LayerDiffuseError], args: list[Any], **settings: Any) -> str:
        script = load_script(lambda: host)
        p = request(webui, script, args, **settings)
        with pytest.raises(error) as caught:
            webui.answer(p)
        fresh = make_webui()
        expected = fresh.process_images(request(fresh, script))
        after = webui.process_images(request(webui, script))
        assert after.images[0].tobytes() == expected.images[0].tobytes()
        assert not any(key.startswith("layerdiffusion") for key in after.infotexts)
        message = str(caught.value)
        assert vars(caught.value) == {"detail": message, "status_code": error.status}
        assert message.endswith(".")
        return message

    return run


@pytest.mark.parametrize("family", ["sd15", "", "flux"])
def test_sdxl_method_on_another_checkpoint(
    models_dir: Path, refused: Callable[..., str], family: str
) -> None:
    message = refused(MiniatureHost(models_dir, family=family), UnsupportedBaseModel, arguments(ATTENTION))
    assert message == (
        f'"{ATTENTION.label}" needs an SDXL checkpoint, but the miniature ({family}) is loaded. '
        "Select an SDXL checkpoint or another method."
    )


def test_sd15_method_on_sdxl(host: MiniatureHost, refused: Callable[..., str]) -> None:
    method = next(method for method in METHODS if method.family is SD15)
    assert "needs an SD1.5 checkpoint" in refused(host, UnsupportedBaseModel, arguments(method))


def test_conditions_on_an_inpainting_checkpoint(models_dir: Path, refused: Callable[..., str]) -> None:
    host = MiniatureHost(models_dir, inpainting=True)
    assert "inpainting checkpoint" in refused(host, UnsupportedMethod, arguments(CONDITIONED))


def test_missing_picture(host: MiniatureHost, refused: Callable[..., str]) -> None:
    message = refused(host, MissingPicture, arguments(CONDITIONED, fg_image=None))
    assert "needs a foreground picture" in message


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"fg_image": "no picture"}, BadPicture),
        ({"fg_image": ["no", "picture"]}, BadPicture),
        ({"weight": 3}, BadSetting),
        ({"resize_mode": "Tile"}, BadSetting),
    ],
)
def test_bad_values(
    host: MiniatureHost, refused: Callable[..., str], change: dict[str, Any], error: type[LayerDiffuseError]
) -> None:
    refused(host, error, arguments(CONDITIONED, **change))


def test_unknown_method(host: MiniatureHost, refused: Callable[..., str]) -> None:
    assert 'no method "Glass"' in refused(host, BadSetting, arguments("Glass"))


def change_file(folder: Path, name: str, change: Callable[[dict[str, torch.Tensor]], object]) -> Path:
    path = folder / "layer_model" / f"{name}.safetensors"
    tensors = load_file(path)
    change(tensors)
    path.unlink()
    save_file(tensors, str(path))
    return path


WIDE = f"{layer_patch.FIRST_CONVOLUTION}::diff::0"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda t: t.update({"loose.weight": torch.zeros(1)}), 'it holds a tensor "loose.weight"'),
        (lambda t: t.update({"a::lokr::0": torch.zeros(1)}), 'it holds a tensor "a::lokr::0"'),
        (lambda t: t.update({"a.b::diff::0": torch.zeros(1)}), 'the model has no parameter "a.b"'),
        (lambda t: t.update({WIDE: t[WIDE][:, :4].contiguous()}), "has shape [32, 4, 3, 3] instead of"),
        (lambda t: t.pop(WIDE), "it does not widen the first convolution to 8 channels"),
        (lambda t: t.clear(), "it is empty"),
    ],
    ids=["stranger", "kind", "parameter", "shape", "narrow", "empty"],
)
def test_layer_file_with_other_tensors(
    own_files: Path, refused: Callable[..., str], change: Any, reason: str
) -> None:
    change_file(own_files, "layer_xl_fg2ble", change)
    message = refused(MiniatureHost(own_files), WrongWeights, arguments(CONDITIONED))
    assert "layer_xl_fg2ble.safetensors" in message
    assert reason in message


def test_layer_file_of_another_method(own_files: Path, refused: Callable[..., str]) -> None:
    folder = own_files / "layer_model"
    (folder / "layer_xl_bgble2fg.safetensors").replace(folder / "layer_xl_fg2ble.safetensors")
    refused(MiniatureHost(own_files), WrongWeights, arguments(CONDITIONED))


def test_half_a_lora(own_files: Path, refused: Callable[..., str]) -> None:
    def lose_one(tensors: dict[str, torch.Tensor]) -> None:
        del tensors[next(key for key in tensors if key.endswith("::lora::1"))]

    change_file(own_files, "layer_xl_transparent_attn", lose_one)
    assert "incomplete" in refused(MiniatureHost(own_files), WrongWeights, arguments(ATTENTION))


@pytest.mark.parametrize("content", [b"<html>not found</html>", b"\0" * 100, b"version https://git-lfs"])
def test_file_that_is_no_safetensors(own_files: Path, refused: Callable[..., str], content: bytes) -> None:
    for name in ("layer_xl_transparent_attn", "vae_transparent_decoder"):
        path = own_files / "layer_model" / f"{name}.safetensors"
        before = path.read_bytes()
        path.write_bytes(content)
        message = refused(MiniatureHost(own_files), WrongWeights, arguments(ATTENTION))
        assert f"{name}.safetensors" in message
        assert "cannot be read" in message
        path.write_bytes(before)


def test_cut_off_file(own_files: Path, refused: Callable[..., str]) -> None:
    path = own_files / "layer_model" / "layer_xl_transparent_conv.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    refused(MiniatureHost(own_files), WrongWeights, arguments(CONVOLUTION))


@pytest.mark.parametrize("name", ["vae_transparent_decoder", "vae_transparent_encoder"])
def test_network_file_with_other_tensors(own_files: Path, refused: Callable[..., str], name: str) -> None:
    change_file(own_files, name, lambda t: t.update({"surplus.weight": torch.zeros(1)}))
    init = [Image.fromarray(picture())]
    message = refused(MiniatureHost(own_files), WrongWeights, arguments(ATTENTION), init_images=init)
    assert f"{name}.safetensors" in message
    assert "surplus.weight" in message


def test_replaced_network_file_is_noticed(own_files: Path, webui: WebUI) -> None:
    script = load_script(lambda: MiniatureHost(own_files))
    first = webui.process_images(request(webui, script, arguments(ATTENTION))).images[0]
    change_file(own_files, "vae_transparent_decoder", lambda t: t["conv_out.bias"].sub_(0.3))
    second = webui.process_images(request(webui, script, arguments(ATTENTION))).images[0]
    assert np.asarray(second)[..., 3].mean() < np.asarray(first)[..., 3].mean() - 20


def test_file_that_cannot_be_fetched(
    tmp_path: Path, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("huggingface_hub")
    monkeypatch.setattr(download, "WAITS", ())
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    message = refused(MiniatureHost(tmp_path), DownloadFailed, arguments(ATTENTION))
    name = "layer_xl_transparent_attn.safetensors"
    folder = tmp_path / "layer_model"
    assert message.startswith(f"{name} (743 MB) is not in {folder} and could not be downloaded: ")
    assert message.endswith(
        f"Try again to go on with it, or put http://127.0.0.1:9/{LAYERDIFFUSION.name}/resolve/"
        f"{LAYERDIFFUSION.revision}/{name} into that folder yourself."
    )


def test_a_sampling_that_another_extension_replaced(
    generate: Generate, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_hook = Processing.run_hook

    def without_latents(self: Processing, name: str, *args: Any, **kwargs: Any) -> None:
        if name != "post_sample":
            run_hook(self, name, *args, **kwargs)

    monkeypatch.setattr(Processing, "run_hook", without_latents)
    with pytest.raises(GenerationFailed, match="no latent for this picture"):
        generate(arguments(ATTENTION))
