"""The settings page: what it may hold, and what each setting does to the next generation."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lib_layerdiffusion.errors import BadSetting
from lib_layerdiffusion.files import tensors
from lib_layerdiffusion.request.options import OPTIONS, PASSES, Options
from lib_layerdiffusion.transparency import voting
from lib_layerdiffusion.transparency.voting import Votes
from miniature.webui.host import MiniatureHost
from miniature.webui.processing import Processed, WebUI
from miniature.webui.script import load_script
from tests.helpers.hub_server import serve
from tests.helpers.jobs import SDXL_METHODS, arguments, pixels, request

Generate = Callable[..., Processed]


def test_nothing_set_is_the_released_behaviour() -> None:
    assert Options.of({}) == Options.of({option.key: option.default for option in OPTIONS}) == Options()
    assert all(option.key.startswith("layerdiffuse_") for option in OPTIONS)
    assert len({option.label for option in OPTIONS}) == len(OPTIONS)


def test_every_number_of_passes_has_its_orientations() -> None:
    votes = [Votes.of(passes) for passes in PASSES]
    assert {one.passes for one in votes} == voting.PASSES.keys()
    assert [one.adaptive for one in votes] == [passes == "adaptive" for passes in PASSES]


def test_every_setting_is_read(tmp_path: Path) -> None:
    values = {
        "layerdiffuse_preview": False,
        "layerdiffuse_saved_format": "WebP (lossless)",
        "layerdiffuse_saved_folder": " transparent ",
        "layerdiffuse_layer_files": "PSD and ORA",
        "layerdiffuse_keep_every": True,
        "layerdiffuse_decode_passes": "2",
        "layerdiffuse_retries": "3",
        "layerdiffuse_low_memory": True,
        "layerdiffuse_model_folder": str(tmp_path),
        "layerdiffuse_download_source": "https://hf-mirror.com/",
        "layerdiffuse_keep_networks": False,
    }
    assert values.keys() == {option.key for option in OPTIONS}
    assert Options.of(values) == Options(
        preview=False,
        saved_suffix=".webp",
        saved_folder=Path("transparent"),
        layer_files=("psd", "ora"),
        keep_every=True,
        decode_passes=2,
        retries=3,
        low_memory=True,
        model_folder=tmp_path,
        download_source="https://hf-mirror.com",
        keep_networks=False,
    )


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        (
            "decode_passes",
            3,
            'layerdiffuse_decode_passes of LayerDiffuse is "3"; it must be one of 8, adaptive, 4, 2, 1.',
        ),
        ("retries", 4, 'layerdiffuse_retries of LayerDiffuse is "4"; it must be one of 0, 1, 2, 3.'),
        ("decode_passes", True, '"True"; it must be one of 8,'),
        ("decode_passes", 1.0, '"1.0"; it must be one of 8,'),
        ("decode_passes", False, "must be one of"),
        ("decode_passes", "8 ", "must be one of"),
        ("decode_passes", [8], "must be one of"),
        ("saved_format", "JPEG", r"must be one of PNG, WebP \(lossless\)\."),
        ("preview", "yes", "layerdiffuse_preview .* must be true or false"),
        ("saved_folder", 5, "layerdiffuse_saved_folder .* must be text"),
        ("download_source", "hf-mirror.com", "must begin with https://"),
        ("saved_folder", "~nosuchuser/pictures", 'The folder "~nosuchuser/pictures" .* this system does not'),
        ("model_folder", "~nosuchuser", "begins with the name of a user that this system does not know"),
        ("model_folder", "a\0b", "a character that no path can have"),
    ],
)
def test_bad_values_end_the_job_with_their_name(
    host: MiniatureHost, generate: Generate, field: str, value: Any, sentence: str
) -> None:
    host.settings[f"layerdiffuse_{field}"] = value
    with pytest.raises(BadSetting, match=sentence):
        generate(arguments())
    # switched off, the extension is no hindrance
    assert generate().images[0].mode == "RGB"


def test_preview_can_be_left_out_and_changes_count_at_once(host: MiniatureHost, generate: Generate) -> None:
    with_preview = generate(arguments())
    host.settings["layerdiffuse_preview"] = False
    without = generate(arguments())
    assert (len(with_preview.extra_images), len(without.extra_images)) == (1, 0)
    assert (pixels(with_preview) == pixels(without)).all()


@pytest.mark.parametrize("method", [SDXL_METHODS[0], SDXL_METHODS[2]], ids=lambda m: m.label)
def test_decode_passes_are_written_where_they_count(
    host: MiniatureHost, generate: Generate, method: Any
) -> None:
    assert "decode_passes" not in generate(arguments(method)).info
    host.settings["layerdiffuse_decode_passes"] = 2
    assert ("layerdiffusion_decode_passes: 2" in generate(arguments(method)).info) is method.decodes_alpha


def test_fewer_passes_give_another_transparency(host: MiniatureHost, generate: Generate) -> None:
    alphas = []
    for passes in (8, 4, 2, 1, "adaptive"):
        host.settings["layerdiffuse_decode_passes"] = passes
        alphas.append(pixels(generate(arguments()))[..., 3])
    assert len({alpha.tobytes() for alpha in alphas}) == 4


def test_networks_are_kept_only_while_wanted(
    host: MiniatureHost, generate: Generate, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = []
    build = tensors.network

    def counting(path: Path, *args: Any, **kwargs: Any) -> Any:
        built.append(path.name)
        return build(path, *args, **kwargs)

    monkeypatch.setattr(tensors, "network", counting)
    generate(arguments())
    generate(arguments())
    assert len(built) == 1
    host.settings["layerdiffuse_keep_networks"] = False
    generate(arguments())
    generate(arguments())
    assert len(built) == 2


@pytest.mark.parametrize("relative", [True, False])
def test_weight_files_lie_in_the_folder_that_is_set(
    models_dir: Path, tmp_path: Path, webui: WebUI, relative: bool
) -> None:
    """Beside the default one, or anywhere else; with nothing in the default folder."""
    shutil.copytree(models_dir / "layer_model", tmp_path / "transparent ü")
    host = MiniatureHost(tmp_path)
    host.settings["layerdiffuse_model_folder"] = (
        "transparent ü" if relative else str(tmp_path / "transparent ü")
    )
    script = load_script(lambda: host)
    assert webui.process_images(request(webui, script, arguments())).images[0].mode == "RGBA"
    assert not (tmp_path / "layer_model").exists()


@pytest.mark.parametrize("key", ["layerdiffuse_model_folder", "layerdiffuse_saved_folder"])
@pytest.mark.parametrize("folder", ["..", "../../etc", "a/../../b"])
def test_folders_do_not_lead_out(host: MiniatureHost, generate: Generate, key: str, folder: str) -> None:
    host.settings[key] = folder
    with pytest.raises(BadSetting, match="give a full path"):
        generate(arguments())


@pytest.mark.parametrize("passes", ["8", "2", 4, 1, "adaptive"])
def test_passes_are_numbers_however_they_are_handed_over(passes: Any) -> None:
    read = Options.of({"layerdiffuse_decode_passes": passes}).decode_passes
    assert type(read) is (str if passes == "adaptive" else int)
    assert str(read) == str(passes)


def test_the_home_folder_of_the_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert Options.of({"layerdiffuse_saved_folder": "~/pictures"}).saved_folder == tmp_path / "pictures"


def test_no_request_may_name_places_of_the_server() -> None:
    places = {option.field for option in OPTIONS if option.server}
    assert places == {"saved_folder", "model_folder", "download_source"}


def test_files_are_fetched_from_the_source_that_is_set(
    models_dir: Path, tmp_path: Path, webui: WebUI, monkeypatch: pytest.MonkeyPatch
) -> None:
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    host = MiniatureHost(tmp_path)
    with serve() as hub:
        hub.files = {
            path.name: path.read_bytes() for path in (models_dir / "layer_model").glob("*.safetensors")
        }
        host.settings["layerdiffuse_download_source"] = hub.endpoint
        script = load_script(lambda: host)
        assert webui.process_images(request(webui, script, arguments())).images[0].mode == "RGBA"
    fetched = {path.name for path in (tmp_path / "layer_model").glob("*.safetensors")}
    assert fetched == {"layer_xl_transparent_attn.safetensors", "vae_transparent_decoder.safetensors"}
    assert any(text.startswith("downloading vae_transparent_decoder") for text, _ in host.reported)
