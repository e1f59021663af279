"""The training recipe at a tiny scale: no download, no pictures but the committed ones."""

from __future__ import annotations

import io
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from lib_layerdiffusion.files import layer_patch
from lib_layerdiffusion.methods import SD15, SDXL
from lib_layerdiffusion.transparency.latents import encode_offset
from miniature.measure import quality
from miniature.nets.random_weights import UNET_PREFIX
from miniature.nets.schedule import NoiseSchedule
from miniature.nets.text_encoder import TextEncoder
from miniature.nets.trained import TRAINED, TRAINED_SD15, load_trained
from miniature.nets.unet import UNet
from miniature.training import (
    autoencoder_stage,
    backgrounds,
    drawn_scenes,
    emoji,
    export,
    generator_stage,
    joint_stage,
    layers,
    loop,
    train,
    transparency_stage,
)
from miniature.training.earlier import Earlier
from miniature.webui.patcher import PREFIX


class Line(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(3))


def fit(folder: Path, steps: int, stop: int | None = None) -> dict[str, Tensor]:
    """Fit noisy targets; break off before step `stop`."""
    module = Line()

    def loss(step: int) -> dict[str, Tensor]:
        if step == stop:
            raise KeyboardInterrupt
        wanted = torch.tensor([1.0, 2.0, 3.0]) + torch.randn(3)
        wanted += torch.from_numpy(loop.rng("small", step).normal(size=3)).float()
        return {"loss": ((module.weight - wanted) ** 2).mean()}

    return loop.train(loop.Plan("small", steps, 0.1, warmup=2, save_seconds=-1), folder, module, loss)


@pytest.mark.filterwarnings("ignore:Converting a tensor")
def test_a_broken_off_stage_goes_on_to_the_same_result(tmp_path: Path) -> None:
    whole = fit(tmp_path / "whole", 6)
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "parts", 6, stop=4)
    with pytest.raises(loop.Untrained, match="run the stage small first"):
        loop.result("small", tmp_path / "parts", Line())
    assert torch.equal(fit(tmp_path / "parts", 6)["weight"], whole["weight"])
    found = Line()
    loop.result("small", tmp_path / "parts", found)
    assert torch.equal(found.weight.detach(), whole["weight"])


@pytest.mark.parametrize("task", generator_stage.TASKS.values(), ids=lambda task: task.file)
def test_a_layer_file_merges_to_the_weights_that_were_trained(task: generator_stage.Task) -> None:
    torch.manual_seed(0)
    unet = UNet(TRAINED)
    patch = generator_stage.Patch(unet, task)
    for part in patch.parts.values():
        part.data = (torch.randn(part.shape) * 0.1).half().float()
    trained = patch.weights()
    model = {PREFIX + name: tuple(parameter.shape) for name, parameter in unet.named_parameters()}
    shapes = {name: tuple(tensor.shape) for name, tensor in patch.tensors().items()}
    layer_patch.check(shapes, model, len(task.conditions), task.file, "the miniature")
    merged = {
        name: layer_patch.merge(unet.get_parameter(name.removeprefix(PREFIX)).data, [(one, 1.0)])
        for name, one in layer_patch.parse(patch.tensors()).items()
    }
    assert {name.removeprefix(PREFIX) for name in merged} == set(trained)
    for name, weight in merged.items():
        torch.testing.assert_close(weight, trained[name.removeprefix(PREFIX)], atol=1e-5, rtol=1e-4)


def test_a_patch_starts_as_the_unpatched_model() -> None:
    torch.manual_seed(0)
    unet = UNet(TRAINED)
    last = unet.out[2]
    assert isinstance(last, nn.Conv2d)
    nn.init.normal_(last.weight, std=0.1)
    text, schedule = TextEncoder(), NoiseSchedule()
    x, timestep = torch.randn(2, 4, 16, 16), torch.tensor([10.0, schedule.last])
    given = timestep, *text(["red apple", ""])
    for task in generator_stage.TASKS.values():
        wide = torch.cat([x, torch.randn(2, 4 * len(task.conditions), 16, 16)], dim=1)
        with torch.inference_mode():
            patched = generator_stage.Patch(unet, task).predict(wide, *given)
            torch.testing.assert_close(patched, unet(x, *given), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("method", joint_stage.METHOD.values(), ids=lambda method: method.weights.name)
def test_attention_sharing_starts_as_the_unpatched_model(method) -> None:
    torch.manual_seed(0)
    unet = UNet(TRAINED_SD15)
    for parameter in unet.parameters():
        # no branch of an untrained network adds anything
        nn.init.normal_(parameter, std=0.1)
    rows = 2 * method.frames
    x, timestep = torch.randn(rows, 4, 16, 16), torch.full((rows,), 300.0)
    context = TextEncoder()(["red apple"] * rows)[0]
    picture = torch.rand(2, 3, 128, 128) if method.pictures else None
    with torch.inference_mode():
        shared = joint_stage.Sharing(unet, method).predict(x, timestep, context, picture)
        plain = unet(x, timestep, context)
        assert plain.std() > 0.01
        torch.testing.assert_close(shared, plain, atol=1e-4, rtol=1e-3)


def test_a_layer_file_can_be_trained_on_the_published_networks(tmp_path: Path, known: emoji.Emoji) -> None:
    own, published = (Earlier(tmp_path, known, torch.device("cpu"), choice) for choice in (False, True))
    for network in (own.vae, own.pair, own.generator, own.unet_sd15):
        with pytest.raises(loop.Untrained, match="run the stage"):
            network()
    assert published.vae().scaling_factor > 0
    for family, found in ((SDXL, published.generator().unet), (SD15, published.unet_sd15())):
        wanted = load_trained(family).unet.state_dict()
        assert all(torch.equal(value, wanted[name]) for name, value in found.state_dict().items())


def test_export_writes_what_was_trained_on_the_published_networks(tmp_path: Path, known: emoji.Emoji) -> None:
    ones = {name: torch.ones_like(value) for name, value in UNet(TRAINED_SD15).named_parameters()}
    torch.save({"done": True, "average": ones}, tmp_path / "base_sd15.pt")
    weights = tmp_path / "weights"
    export.export(Earlier(tmp_path, known, torch.device("cpu"), published=True), weights)
    assert [path.name for path in weights.rglob("*.*")] == ["base_sd15.safetensors"]
    written = load_file(weights / "base_sd15.safetensors")
    assert set(written) == {UNET_PREFIX + name for name in ones}
    assert all((value == 1).all() for value in written.values())


def test_training_sees_what_the_extension_encodes() -> None:
    rgba = next(iter(quality.see_through(quality.held_out()).values()))
    encoder = transparency_stage.Pair().encoder
    with torch.inference_mode():
        ours = encoder(transparency_stage.encoder_input(rgba)[None])
        torch.testing.assert_close(ours, encode_offset(encoder, rgba))


def test_held_out_pictures_are_none_of_the_trained_ones() -> None:
    names = [path.stem.replace("-", " ") for path in quality.HELD_OUT.glob("*.png")]
    assert len(names) >= 16
    for name in names:
        assert emoji.is_held_out(name), name
    assert not any(map(emoji.is_held_out, emoji.CONCEPTS))


def test_sequences_have_no_name_of_their_own() -> None:
    assert emoji.name_of("1f34e") == "red apple"
    assert emoji.name_of("2615-fe0f") == "hot beverage"
    assert emoji.name_of("1f468-200d-1f680") is None


def test_a_device_that_is_not_there_is_refused_with_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "argv", ["train", "base", "--device", "nowhere", "--folder", str(tmp_path)])
    with pytest.raises(SystemExit, match="2"):
        train.main()
    assert "PyTorch has no device nowhere here; without this option" in capsys.readouterr().err


def test_without_the_registry_one_sentence_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(emoji, "ADDRESS", "http://127.0.0.1:9/nothing.tgz")
    with pytest.raises(emoji.DataError, match=r"npm registry .* put the package's archive at"):
        emoji.fetch(tmp_path / "data")


def test_another_archive_than_the_published_one_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = tmp_path / "other.tgz"
    with tarfile.open(archive, "w:gz") as package:
        package.addfile(tarfile.TarInfo("package/assets/1f34e.webp"), io.BytesIO())
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(emoji, "ADDRESS", archive.as_uri())
    with pytest.raises(emoji.DataError, match="not the archive that was published"):
        emoji.fetch(tmp_path / "data")
    assert list((tmp_path / "data").glob("*.tgz")) == []


def test_a_scene_is_its_foreground_over_its_background(known: emoji.Emoji) -> None:
    places = set()
    for number in range(12):
        one, again = drawn_scenes.scene(known, number), drawn_scenes.scene(known, number)
        assert (one.blended == again.blended).all()
        laid = layers.over(layers.premultiplied(one.foreground), one.background)
        assert np.abs(laid - one.blended).max() < 3 / 255
        assert one.foreground[0, :, 3].max() < 128
        places.add(one.place)
    assert len(places) > 3
    assert places <= {*backgrounds.PLACES, ""}


def test_an_occupied_scene_is_another_foreground_over_a_whole_scene(
    tmp_path: Path, known: emoji.Emoji, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drawn_scenes, "COUNT", len(emoji.CONCEPTS))
    monkeypatch.setattr(drawn_scenes, "TRANSPARENT", 3)
    vae = Earlier(tmp_path, known, torch.device("cpu"), published=True).vae()
    plain = drawn_scenes.latents(tmp_path, known, vae)
    made = drawn_scenes.with_occupied(tmp_path, known, vae, plain)
    assert len(made.concepts) == len(made.places) == len(made.blended) == 3 + len(plain.blended)
    assert torch.equal(made.background[3:], plain.background)
    for n in range(3):
        (earlier,) = [m for m, z in enumerate(plain.blended) if torch.equal(z, made.background[n])]
        assert made.concepts[n] == plain.concepts[n] != plain.concepts[earlier]
        assert made.places[n] == plain.places[earlier]
        foreground = layers.premultiplied(drawn_scenes.scene(known, n).foreground)
        laid = layers.over(foreground, drawn_scenes.scene(known, earlier).blended)
        with torch.inference_mode():
            shown = vae.decode(made.blended[n][None])[0].movedim(0, -1).numpy() / 2 + 0.5
        assert np.abs(shown - laid).mean() < 0.05


def test_variants_are_see_through() -> None:
    layer = layers.premultiplied(quality.held_out()["elephant"])
    for variant in layers.VARIANTS:
        alpha = variant(layer, np.random.default_rng(1))[..., 3]
        between = (alpha > 0.1) & (alpha < 0.9)
        assert between.mean() > 2 * ((layer[..., 3] > 0.1) & (layer[..., 3] < 0.9)).mean()
        assert alpha.max() <= 1.0001


def test_the_measured_scale_leaves_pictures_as_they_are(tmp_path: Path, known: emoji.Emoji) -> None:
    torch.manual_seed(0)
    plain = autoencoder_stage.AutoencoderKL()
    state = {"done": True, "average": dict(plain.named_parameters())}
    torch.save(state, tmp_path / "autoencoder.pt")
    scaled = autoencoder_stage.trained(tmp_path, known)
    x = 2 * autoencoder_stage.to_tensor([autoencoder_stage.compose(known, loop.rng("scale", 0), 128)]) - 1
    with torch.inference_mode():
        mean, logvar = plain.moments(x)
        scaled_mean, scaled_logvar = scaled.moments(x)
        ratio = float(scaled_mean.std() / mean.std())
        torch.testing.assert_close(scaled.decode(scaled_mean), plain.decode(mean), atol=1e-4, rtol=1e-3)
        std = torch.exp(0.5 * scaled_logvar) / torch.exp(0.5 * logvar)
        torch.testing.assert_close(std, torch.full_like(std, ratio), atol=1e-3 * ratio, rtol=1e-3)
        assert 0.2 < float(scaled.process_in(scaled_mean).std()) < 5
