"""The SD1.5 methods: attention sharing, scenes, layer prompts, Weight and Stop At."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from lib_layerdiffusion.errors import BatchSizeMismatch, UnsupportedBaseModel, UnsupportedMethod, WrongWeights
from lib_layerdiffusion.files import tensors
from lib_layerdiffusion.job import scene_attention
from lib_layerdiffusion.methods import FOLDER, METHODS, SD15, Method
from lib_layerdiffusion.models.attention_sharing import (
    UNIT_MODULES,
    AttentionSharing,
    ControlEncoder,
    SharingUnit,
    linear_weight,
)
from miniature.nets.random_weights import BaseModel, layer_files
from miniature.webui.host import MiniatureHost
from miniature.webui.patcher import Patcher
from miniature.webui.processing import Processed, Processing, WebUI
from miniature.webui.script import load_script
from tests.helpers.jobs import SDXL_METHODS, arguments, picture, request
from tests.job.test_wrong_use import change_file

ALONE, FG2BG, BG2FG, JOINT = SD15_METHODS = tuple(method for method in METHODS if method.family is SD15)
GROUPS = [FG2BG, BG2FG, JOINT]
Generate = Callable[..., Processed]


def name(method: Method) -> str:
    return method.weights.name


@pytest.fixture
def host15(models_dir: Path) -> MiniatureHost:
    return MiniatureHost(models_dir, family="sd15")


@pytest.fixture
def webui15(base15: BaseModel) -> WebUI:
    return WebUI(copy.deepcopy(base15))


@pytest.fixture
def generate(webui15: WebUI, host15: MiniatureHost) -> Generate:
    script = load_script(lambda: host15)

    def run(args: list[Any] | None = None, **settings: Any) -> Processed:
        return webui15.process_images(request(webui15, script, args, **settings))

    return run


def near(first: np.ndarray, second: np.ndarray) -> bool:
    """Equal but for the last bits of sums over another batch size."""
    return bool(np.abs(first[..., :3] - second[..., :3]).max() <= 2)


def colours(result: Processed) -> np.ndarray:
    return np.stack([np.asarray(image.convert("RGB")).astype(int) for image in result.images])


@pytest.mark.parametrize("method", SD15_METHODS, ids=name)
def test_one_scene_is_one_picture_per_layer(generate: Generate, method: Method) -> None:
    plain = colours(generate(batch_size=method.frames))
    result = generate(arguments(method))
    assert len(result.images) == method.frames
    modes = ["RGBA" if n == 0 and method.decodes_alpha else "RGB" for n in range(method.frames)]
    assert [image.mode for image in result.images] == modes
    assert len(result.extra_images) == int(method.decodes_alpha)
    assert (colours(result) != plain).any(axis=(1, 2, 3)).all()
    for image, layer in zip(result.images, method.outputs, strict=True):
        named = f"layerdiffusion_layer: {layer.value}" in image.info["parameters"]
        assert named == (method.frames > 1)


def test_layers_are_named_where_infotext_takes_no_lists(
    host15: MiniatureHost, generate: Generate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The Forge of early 2024 writes a list as it is, into every picture."""
    monkeypatch.setattr(host15, "lists_in_infotext", False)
    written = WebUI._infotext

    def infotext(self: WebUI, p: Any) -> str:
        assert not any(isinstance(value, list) for value in p.extra_generation_params.values())
        return written(self, p)

    monkeypatch.setattr(WebUI, "_infotext", infotext)
    result = generate(arguments(JOINT), n_iter=2)
    for n, image in enumerate(result.images):
        assert f"layerdiffusion_layer: {JOINT.outputs[n % 3].value}" in image.info["parameters"]


@pytest.mark.parametrize("method", GROUPS, ids=name)
def test_scenes_do_not_depend_on_how_many_are_made(generate: Generate, method: Method) -> None:
    frames = method.frames
    many = colours(generate(arguments(method), n_iter=3))
    one_batch = colours(generate(arguments(method), batch_size=3 * frames))
    assert len(many) == len(one_batch) == 3 * frames
    assert near(many, one_batch)
    for scene in range(3):
        alone = colours(generate(arguments(method), seed=1 + scene * frames))
        assert near(many[scene * frames : (scene + 1) * frames], alone)


@pytest.mark.parametrize(
    ("method", "size", "pictures"),
    [(FG2BG, 1, 2), (FG2BG, 2, 2), (FG2BG, 3, 6), (FG2BG, 4, 4), (JOINT, 1, 3), (JOINT, 2, 6), (JOINT, 6, 6)],
)
def test_batch_size_counts_pictures_if_whole_scenes_else_scenes(
    generate: Generate, method: Method, size: int, pictures: int
) -> None:
    assert len(generate(arguments(method), batch_size=size).images) == pictures


@pytest.mark.parametrize("method", GROUPS, ids=name)
def test_every_picture_of_a_scene_replays_the_scene(generate: Generate, method: Method) -> None:
    result = generate(arguments(method), n_iter=2)
    frames = method.frames
    seeds = [int(image.info["parameters"].partition("Seed: ")[2].split(",")[0]) for image in result.images]
    assert seeds == [1] * frames + [1 + frames] * frames
    again = generate(arguments(method), seed=seeds[-1])
    assert near(colours(again), colours(result)[frames:])
    assert near(colours(generate(arguments(method), seed=seeds[-1], batch_size=frames)), colours(again))


def test_lists_of_prompts_are_one_per_scene(generate: Generate) -> None:
    result = generate(arguments(JOINT), prompt=["a cup", "a lamp"], batch_size=2)
    assert len(result.images) == 6
    cup, lamp = (generate(arguments(JOINT), prompt=text, seed=s) for text, s in (("a cup", 1), ("a lamp", 4)))
    assert near(colours(result), np.concatenate([colours(cup), colours(lamp)]))


def test_frames_of_a_scene_share_and_scenes_do_not(generate: Generate) -> None:
    # another seed changes the second scene alone; within a scene every layer follows
    def run(seeds: list[int]) -> np.ndarray:
        original = Processing.begin_batch

        def begin(self: Processing, iteration: int) -> None:
            original(self, iteration)
            self.seeds = list(seeds)

        Processing.begin_batch = begin  # type: ignore[method-assign]
        try:
            return colours(generate(arguments(JOINT), batch_size=6))
        finally:
            Processing.begin_batch = original  # type: ignore[method-assign]

    first, second = run([1, 2, 3, 4, 5, 6]), run([1, 2, 3, 4, 5, 99])
    assert (first[:3] == second[:3]).all()
    assert (first[3:] != second[3:]).any(axis=(1, 2, 3)).all()


@pytest.mark.parametrize("method", [FG2BG, BG2FG], ids=name)
def test_control_picture_matters(generate: Generate, method: Method) -> None:
    first = colours(generate(arguments(method)))
    assert (colours(generate(arguments(method))) == first).all()
    short = "fg_image" if method is FG2BG else "bg_image"
    turned = np.ascontiguousarray(picture()[::-1])
    assert (colours(generate(arguments(method, **{short: turned}))) != first).any(axis=(1, 2, 3)).all()


def test_additional_prompt_goes_to_its_layer_before_the_scene_prompt(
    generate: Generate, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []
    encode = MiniatureHost.encode_prompts

    def spy(self: MiniatureHost, p: Processing, texts: Any) -> torch.Tensor:
        asked.append(list(texts))
        return encode(self, p, texts)

    monkeypatch.setattr(MiniatureHost, "encode_prompts", spy)
    plain = colours(generate(arguments(JOINT), prompt=["a cup", "a lamp"], batch_size=2))
    assert asked == []
    result = generate(
        arguments(JOINT, bg_additional_prompt="a beach"), prompt=["a cup", "a lamp"], batch_size=2
    )
    assert asked == [["a beach, a cup", "a beach, a lamp"]]
    assert (colours(result) != plain).any(axis=(1, 2, 3)).all()
    assert "layerdiffusion_bg_additional_prompt: a beach" in result.infotexts[0]


def test_prompt_equal_to_the_scene_prompt_changes_nothing(
    generate: Generate, monkeypatch: pytest.MonkeyPatch
) -> None:
    def same(self: MiniatureHost, p: Processing, texts: Any) -> torch.Tensor:
        return p.webui.base.text([text.partition(", ")[2] for text in texts])[0]

    monkeypatch.setattr(MiniatureHost, "encode_prompts", same)
    plain = colours(generate(arguments(JOINT)))
    assert near(
        colours(generate(arguments(JOINT, fg_additional_prompt="x", blend_additional_prompt="y"))), plain
    )


def test_longer_additional_prompt(generate: Generate, monkeypatch: pytest.MonkeyPatch) -> None:
    def repeated(self: MiniatureHost, p: Processing, texts: Any) -> torch.Tensor:
        context = p.webui.base.text([text.partition(", ")[2] for text in texts])[0]
        return context.repeat(1, 3, 1)

    plain = colours(generate(arguments(JOINT)))
    monkeypatch.setattr(MiniatureHost, "encode_prompts", repeated)
    assert near(colours(generate(arguments(JOINT, fg_additional_prompt="x"))), plain)


@pytest.mark.parametrize("prompt", ["a [cup:lamp:0.5]", "a cup AND a lamp"])
def test_additional_prompts_and_changing_prompts_are_refused(generate: Generate, prompt: str) -> None:
    with pytest.raises(UnsupportedMethod, match="cannot be combined with prompt editing or AND"):
        generate(arguments(JOINT, bg_additional_prompt="a beach"), prompt=prompt)
    assert len(generate(arguments(JOINT), prompt=prompt).images) == 3


@pytest.mark.parametrize("method", SD15_METHODS, ids=name)
def test_without_negative_prompt(generate: Generate, method: Method) -> None:
    prompts = {"bg_additional_prompt": "a beach"} if method is JOINT else {}
    result = generate(arguments(method, **prompts), cfg_scale=1.0)
    assert len(result.images) == method.frames


@pytest.mark.parametrize("method", SD15_METHODS, ids=name)
def test_weight_and_stop_at(generate: Generate, method: Method) -> None:
    def run(**changes: float) -> np.ndarray:
        return colours(generate(arguments(method, **changes), steps=4))

    off = colours(generate(steps=4, batch_size=method.frames))

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


@pytest.mark.parametrize("strength", [0.0, 0.7])
@pytest.mark.parametrize("method", [JOINT, FG2BG], ids=name)
def test_no_extra_weights_is_the_unpatched_network(
    models_dir: Path, webui15: WebUI, method: Method, strength: float
) -> None:
    state = tensors.state_dict(models_dir / FOLDER / method.weights.filename)
    if strength:
        state = {key: torch.zeros_like(tensor) for key, tensor in state.items()}
    network = AttentionSharing.from_state_dict(state, method.frames, control=bool(method.pictures)).float()
    control = torch.rand(1, 3, 64, 64) if method.pictures else None
    shared = scene_attention.SharedAttention(network, strength, [], control, {})
    unet = webui15.base.unet
    modules = [unet.get_submodule(module) for module in UNIT_MODULES]
    rows = 2 * method.frames
    torch.manual_seed(0)
    x, t, context = torch.randn(rows, 4, 8, 8), torch.full((rows,), 500.0), torch.randn(rows, 16, 64)
    with torch.inference_mode():
        expected = unet(x, t, context)
        with shared.active(modules, [1, 0], rows):
            result = unet(x, t, context)
        # products in another order: this network makes rounding a thousand times larger
        torch.testing.assert_close(result, expected, atol=1e-3, rtol=1e-3)
        assert torch.equal(unet(x, t, context), expected)
    assert not any("forward" in vars(module) for module in modules)


def test_forwards_are_put_back_when_the_network_fails(models_dir: Path, webui15: WebUI) -> None:
    network = AttentionSharing.from_state_dict(
        tensors.state_dict(models_dir / FOLDER / ALONE.weights.filename), 1, control=False
    )
    modules = [webui15.base.unet.get_submodule(module) for module in UNIT_MODULES]
    shared = scene_attention.SharedAttention(network, 1.0, [], None, {})
    with pytest.raises(ZeroDivisionError), shared.active(modules, [0], 1):
        raise ZeroDivisionError
    assert not any("forward" in vars(module) for module in modules)


def test_a_forward_that_another_extension_set_is_put_back(models_dir: Path, webui15: WebUI) -> None:
    state = tensors.state_dict(models_dir / FOLDER / ALONE.weights.filename)
    network = AttentionSharing.from_state_dict(state, 1, control=False)
    modules = [webui15.base.unet.get_submodule(module) for module in UNIT_MODULES]

    def other(x: torch.Tensor, context: torch.Tensor | None = None) -> torch.Tensor:
        return x

    modules[3].forward = other
    with scene_attention.SharedAttention(network, 1.0, [], None, {}).active(modules, [0], 1):
        assert modules[3].forward is not other
    assert [n for n, module in enumerate(modules) if "forward" in vars(module)] == [3]
    assert modules[3].forward is other


class OddLinear(nn.Module):
    """A host's layer: no float weight to read, a LoRA that is added while it runs."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self._layer = [layer]
        self.weight = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self._layer[0](x) + 2 * x[..., :1]
        return result


def test_weights_are_what_a_layer_does_not_what_it_stores() -> None:
    layer = nn.Linear(5, 7)
    weight, bias = linear_weight(OddLinear(layer), 5, torch.zeros(1))
    expected = layer.weight.clone()
    expected[:, 0] += 2
    torch.testing.assert_close(weight, expected)
    torch.testing.assert_close(bias, layer.bias)


@torch.inference_mode()
def test_attention_takes_what_hosts_hand_over(models_dir: Path, webui15: WebUI) -> None:
    """`value` and `mask` mean what they mean to the host; at strength 0 that can be compared."""
    network = AttentionSharing.from_state_dict(
        tensors.state_dict(models_dir / FOLDER / JOINT.weights.filename), 3, control=False
    ).float()
    modules = [webui15.base.unet.get_submodule(module) for module in UNIT_MODULES]
    cross: Any = modules[1]
    x, context, value = torch.randn(3, 5, 32), torch.randn(3, 7, 64), torch.randn(3, 7, 64)
    mask = torch.zeros(5, 7)
    mask[:, 3:] = -torch.inf

    def expected(allowed: int) -> torch.Tensor:
        q, k, v = (
            tokens.unflatten(-1, (8, -1)).transpose(1, 2)
            for tokens in (cross.to_q(x), cross.to_k(context[:, :allowed]), cross.to_v(value[:, :allowed]))
        )
        attended = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1) @ v
        result: torch.Tensor = cross.to_out(attended.transpose(1, 2).flatten(2))
        return result

    shared = scene_attention.SharedAttention(network, 0.0, [], None, {})
    with shared.active(modules, [0], 3):
        whole = cross.forward(x, context=context, value=value, transformer_options={})
        part = cross.forward(x, context=context, value=value, mask=mask, transformer_options={})
    torch.testing.assert_close(whole, expected(7), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(part, expected(3), atol=1e-4, rtol=1e-4)


def test_nothing_is_computed_twice(generate: Generate, monkeypatch: pytest.MonkeyPatch) -> None:
    merges: list[int] = []
    signals: list[int] = []
    merge = SharingUnit.merge

    def counted_merge(self: SharingUnit, *args: Any) -> Any:
        merges.append(id(self))
        return merge(self, *args)

    forward = ControlEncoder.forward

    def counted_forward(self: ControlEncoder, x: torch.Tensor) -> Any:
        signals.append(1)
        return forward(self, x)

    monkeypatch.setattr(SharingUnit, "merge", counted_merge)
    monkeypatch.setattr(ControlEncoder, "forward", counted_forward)
    generate(arguments(BG2FG), steps=6, n_iter=2)
    # once per sampling pass; the control encoder once per generation
    assert sorted(merges) == sorted(list(set(merges)) * 2)
    assert len(set(merges)) == 32
    assert len(signals) == 1


def test_nothing_is_kept_that_grows_with_use(
    host15: MiniatureHost, generate: Generate, monkeypatch: pytest.MonkeyPatch
) -> None:
    released: list[nn.Module] = []
    made: list[nn.Module] = []
    build = tensors.network

    def counted(path: Path, build_network: Any) -> Any:
        made.append(build(path, build_network))
        return made[-1]

    shares: list[scene_attention.SharedAttention] = []
    active = scene_attention.SharedAttention.active

    def seen(self: scene_attention.SharedAttention, *args: Any) -> Any:
        shares.append(self)
        return active(self, *args)

    monkeypatch.setattr(tensors, "network", counted)
    monkeypatch.setattr(MiniatureHost, "release", lambda self, network: released.append(network))
    monkeypatch.setattr(scene_attention.SharedAttention, "active", seen)
    for method in (JOINT, FG2BG, JOINT, JOINT):
        generate(arguments(method))
    sharing = [network for network in made if isinstance(network, AttentionSharing)]
    # the last one is kept for the next generation; the host is told to forget each one before
    assert len(sharing) == 3
    assert released == sharing[:2]
    assert shares
    assert not any(shared._merged for shared in shares)


@pytest.mark.parametrize("method", [BG2FG, JOINT], ids=name)
def test_highres_pass(generate: Generate, method: Method) -> None:
    result = generate(arguments(method), enable_hr=True)
    assert [image.size for image in result.images] == [(128, 128)] * method.frames
    assert result.images[0].mode == "RGBA"


@pytest.mark.parametrize(("width", "height"), [(200, 264), (72, 136)])
def test_any_size(generate: Generate, width: int, height: int) -> None:
    assert {image.size for image in generate(arguments(FG2BG), width=width, height=height).images} == {
        (width, height)
    }


def test_img2img_starts_every_layer_from_the_picture(generate: Generate) -> None:
    init = [Image.fromarray(picture())]
    result = generate(arguments(JOINT), init_images=init)
    assert [image.mode for image in result.images] == ["RGBA", "RGB", "RGB"]
    two = generate(arguments(JOINT), init_images=[*init, init[0].rotate(180)], batch_size=2)
    assert len(two.images) == 6
    assert near(colours(two)[:3], colours(result))


def test_init_pictures_that_are_no_whole_scenes(generate: Generate) -> None:
    init = [Image.fromarray(picture())] * 2
    with pytest.raises(BatchSizeMismatch, match="got 2 pictures for scenes of 3"):
        generate(arguments(JOINT), init_images=init, batch_size=3)


def test_token_counts_that_another_extension_changed(
    generate: Generate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ControlEncoder, "forward", lambda self, x: {7: torch.zeros(1, 16, 1, 7)})
    with pytest.raises(UnsupportedMethod, match="token merging"):
        generate(arguments(FG2BG))


def test_method_on_another_family(models_dir: Path, webui15: WebUI) -> None:
    script = load_script(lambda: MiniatureHost(models_dir, family="sdxl"))
    with pytest.raises(UnsupportedBaseModel, match=r"needs an SD1\.5 checkpoint"):
        webui15.process_images(request(webui15, script, arguments(JOINT)))


@pytest.mark.parametrize("change", ["missing", "surplus", "other method"])
def test_damaged_file(tmp_path: Path, webui15: WebUI, change: str) -> None:
    layer_files(tmp_path / "layer_model", seed=1)
    if change == "missing":
        change_file(tmp_path, name(JOINT), lambda t: t.pop("hookers.layers.31.temporal_o.bias"))
    elif change == "surplus":
        change_file(tmp_path, name(JOINT), lambda t: t.update({"x": torch.zeros(1)}))
    else:
        folder = tmp_path / "layer_model"
        (folder / f"{name(FG2BG)}.safetensors").replace(folder / f"{name(JOINT)}.safetensors")
    script = load_script(lambda: MiniatureHost(tmp_path, family="sd15"))
    with pytest.raises(WrongWeights, match=r"layer_sd15_joint\.safetensors"):
        webui15.process_images(request(webui15, script, arguments(JOINT)))


def test_switching_families_in_one_process_gives_the_same_bytes(
    models_dir: Path, base: BaseModel, base15: BaseModel
) -> None:
    """One host object, and so one set of networks, through SD1.5, SDXL and SD1.5 again."""
    host = MiniatureHost(models_dir)
    script = load_script(lambda: host)

    def run(family: str, method: Method) -> list[bytes]:
        host.family = family
        webui = WebUI(copy.deepcopy(base15 if family == "sd15" else base))
        return [i.tobytes() for i in webui.process_images(request(webui, script, arguments(method))).images]

    order = [("sd15", JOINT), ("sdxl", SDXL_METHODS[0]), ("sd15", JOINT), ("sdxl", SDXL_METHODS[0])]
    first_sd15, first_sdxl, second_sd15, second_sdxl = [run(*step) for step in order]
    assert first_sd15 == second_sd15
    assert first_sdxl == second_sdxl


def test_nothing_is_left_in_the_network(generate: Generate, webui15: WebUI, base15: BaseModel) -> None:
    before = generate(batch_size=3).images[0].tobytes()
    for method in SD15_METHODS:
        generate(arguments(method, ending_step=0.5))
    assert isinstance(webui15.patcher, Patcher)
    assert generate(batch_size=3).images[0].tobytes() == before
    state, original = webui15.base.unet.state_dict(), base15.unet.state_dict()
    assert state.keys() == original.keys()
    assert all(torch.equal(state[key], original[key]) for key in state)
