"""The miniature diffusion model: checkpoint layout, schedule and samplers, and that inputs matter."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from miniature.nets.autoencoder import AutoencoderConfig, AutoencoderKL
from miniature.nets.random_weights import (
    UNET_PREFIX,
    BaseModel,
    base_state_dict,
    decoder_shapes,
    encoder_shapes,
    layer_files,
    load_base,
)
from miniature.nets.sampling import ancestral_step, sample_euler, sample_euler_ancestral
from miniature.nets.schedule import NoiseSchedule
from miniature.nets.unet import SD15_MINIATURE, SDXL_MINIATURE, UNet, UNetConfig, timestep_embedding
from miniature.nets.unet_layers import GEGLU

# Sizes of the SDXL base model; its parameter names and count are public.
SDXL = UNetConfig(320, (1, 2, 4), (0, 2, 10), 10, 2048, 2816, 64)
SDXL_SHAPES = {
    "time_embed.0.weight": (1280, 320),
    "time_embed.2.bias": (1280,),
    "label_emb.0.0.weight": (1280, 2816),
    "label_emb.0.2.weight": (1280, 1280),
    "input_blocks.0.0.weight": (320, 4, 3, 3),
    "input_blocks.1.0.in_layers.0.weight": (320,),
    "input_blocks.1.0.in_layers.2.weight": (320, 320, 3, 3),
    "input_blocks.1.0.emb_layers.1.weight": (320, 1280),
    "input_blocks.1.0.out_layers.0.bias": (320,),
    "input_blocks.1.0.out_layers.3.weight": (320, 320, 3, 3),
    "input_blocks.3.0.op.weight": (320, 320, 3, 3),
    "input_blocks.4.0.skip_connection.weight": (640, 320, 1, 1),
    "input_blocks.4.1.norm.weight": (640,),
    "input_blocks.4.1.proj_in.weight": (640, 640),
    "input_blocks.4.1.transformer_blocks.1.attn1.to_q.weight": (640, 640),
    "input_blocks.4.1.transformer_blocks.1.attn2.to_k.weight": (640, 2048),
    "input_blocks.4.1.transformer_blocks.1.attn2.to_out.0.bias": (640,),
    "input_blocks.4.1.transformer_blocks.1.ff.net.0.proj.weight": (5120, 640),
    "input_blocks.4.1.transformer_blocks.1.ff.net.2.weight": (640, 2560),
    "input_blocks.4.1.transformer_blocks.1.norm3.weight": (640,),
    "input_blocks.4.1.proj_out.weight": (640, 640),
    "input_blocks.8.1.transformer_blocks.9.attn1.to_v.weight": (1280, 1280),
    "middle_block.0.in_layers.2.weight": (1280, 1280, 3, 3),
    "middle_block.1.transformer_blocks.9.attn2.to_v.weight": (1280, 2048),
    "middle_block.2.out_layers.3.bias": (1280,),
    "output_blocks.0.0.in_layers.2.weight": (1280, 2560, 3, 3),
    "output_blocks.2.0.skip_connection.weight": (1280, 1920, 1, 1),
    "output_blocks.2.2.conv.weight": (1280, 1280, 3, 3),
    "output_blocks.5.2.conv.weight": (640, 640, 3, 3),
    "output_blocks.6.0.in_layers.0.weight": (960,),
    "output_blocks.8.0.in_layers.2.weight": (320, 640, 3, 3),
    "out.0.weight": (320,),
    "out.2.weight": (4, 320, 3, 3),
}
VAE_SHAPES = {
    "encoder.conv_in.weight": (16, 3, 3, 3),
    "encoder.down.0.block.0.norm1.weight": (16,),
    "encoder.down.0.downsample.conv.weight": (16, 16, 3, 3),
    "encoder.down.1.block.0.nin_shortcut.weight": (32, 16, 1, 1),
    "encoder.down.3.block.0.conv2.bias": (64,),
    "encoder.mid.block_1.norm2.weight": (64,),
    "encoder.mid.attn_1.q.weight": (64, 64, 1, 1),
    "encoder.mid.attn_1.proj_out.bias": (64,),
    "encoder.norm_out.weight": (64,),
    "encoder.conv_out.weight": (8, 64, 3, 3),
    "quant_conv.weight": (8, 8, 1, 1),
    "post_quant_conv.weight": (4, 4, 1, 1),
    "decoder.conv_in.weight": (64, 4, 3, 3),
    "decoder.mid.block_2.conv1.weight": (64, 64, 3, 3),
    "decoder.up.3.block.1.conv1.weight": (64, 64, 3, 3),
    "decoder.up.3.upsample.conv.weight": (64, 64, 3, 3),
    "decoder.up.2.block.0.nin_shortcut.weight": (32, 64, 1, 1),
    "decoder.up.0.block.0.conv1.weight": (16, 32, 3, 3),
    "decoder.norm_out.bias": (16,),
    "decoder.conv_out.weight": (3, 16, 3, 3),
}
SIGMA_AT_PERCENT = {
    0.05: 10.90732,
    0.1: 8.307171,
    0.25: 4.086081,
    0.3: 3.325069,
    0.5: 1.615580,
    0.62: 1.088952,
    0.75: 0.6951495,
    0.9: 0.3437048,
    0.999: 0.04130003,
}
CONDITION_CHANNELS = {
    "layer_xl_fg2ble": 8,
    "layer_xl_bg2ble": 8,
    "layer_xl_fgble2bg": 12,
    "layer_xl_bgble2fg": 12,
}


@pytest.fixture(scope="module", autouse=True)
def _one_thread_without_gradients() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.no_grad():
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    return base_state_dict(7)


@pytest.fixture
def model(state: dict[str, Tensor]) -> BaseModel:
    return load_base(state)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Tensor]]:
    return {path.stem: load_file(path) for path in layer_files(tmp_path_factory.mktemp("layer_model"), 7)}


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def predict(
    model: BaseModel, prompt: str = "a red apple", timestep: float = 500.0, channels: int = 4
) -> Tensor:
    context, vector = model.text([prompt])
    eps: Tensor = model.unet(normal(1, channels, 16, 16), torch.tensor([timestep]), context, vector)
    return eps


def first_convolution(model: BaseModel) -> nn.Conv2d:
    layer = model.unet.get_submodule("input_blocks.0.0")
    assert isinstance(layer, nn.Conv2d)
    return layer


def shapes(module: nn.Module) -> dict[str, tuple[int, ...]]:
    return {key: tuple(value.shape) for key, value in module.state_dict().items()}


def test_unet_has_the_names_and_shapes_of_sdxl() -> None:
    with torch.device("meta"):
        unet = UNet(SDXL)
    found = shapes(unet)
    assert {key: found.get(key) for key in SDXL_SHAPES} == SDXL_SHAPES
    assert len(found) == 1680
    assert sum(p.numel() for p in unet.parameters()) == 2_567_463_684


def test_miniature_has_names_of_sdxl_and_a_few_million_parameters() -> None:
    with torch.device("meta"):
        unet, large = UNet(), UNet(replace(SDXL, transformer_depth=(0, 1, 1), middle_depth=1))
    assert sorted(shapes(unet)) == sorted(shapes(large))
    assert 2e6 < sum(p.numel() for p in unet.parameters()) < 4.5e6


def test_sd15_layout_projects_with_convolutions_and_has_no_pooled_vector() -> None:
    unet = UNet(SD15_MINIATURE)
    found = shapes(unet)
    assert found["input_blocks.1.1.proj_in.weight"] == (32, 32, 1, 1)
    assert "output_blocks.2.1.conv.weight" in found
    assert "output_blocks.5.2.conv.weight" in found
    assert not any(key.startswith(("label_emb", "output_blocks.0.1")) for key in found)
    assert unet(normal(1, 4, 16, 24), torch.tensor([5.0]), normal(1, 16, 64)).shape == (1, 4, 16, 24)


def test_time_embedding_puts_cosines_first() -> None:
    embedding = timestep_embedding(torch.tensor([0.0, 1.0]), 4)
    expected = [[1.0, 1.0, 0.0, 0.0], [0.540302, 0.999950, 0.841471, 0.0099998]]
    torch.testing.assert_close(embedding, torch.tensor(expected), rtol=1e-5, atol=1e-7)


def test_every_input_reaches_the_prediction(model: BaseModel) -> None:
    eps = predict(model)
    assert eps.shape == (1, 4, 16, 16)
    assert 0.3 < eps.std() < 3
    context, vector = model.text(["a red apple"])
    other_context, other_vector = model.text(["the blue sea at night"])
    x, t = normal(1, 4, 16, 16), torch.tensor([500.0])
    torch.testing.assert_close(model.unet(x, t, context, vector), eps)
    for changed in (
        model.unet(normal(1, 4, 16, 16, seed=1), t, context, vector),
        model.unet(x, torch.tensor([100.0]), context, vector),
        model.unet(x, t, other_context, vector),
        model.unet(x, t, context, other_vector),
    ):
        assert (changed - eps).std() > 0.02


def test_skips_come_after_the_upsampled_channels(model: BaseModel) -> None:
    seen: dict[str, Tensor] = {}
    first, last = first_convolution(model), model.unet.get_submodule("output_blocks.8.0")
    first.register_forward_hook(lambda _, inputs, output: seen.update(skip=output))
    last.register_forward_hook(lambda _, inputs, output: seen.update(concatenated=inputs[0]))
    predict(model)
    assert seen["concatenated"].shape[1] == 64
    assert torch.equal(seen["concatenated"][:, 32:], seen["skip"])


def test_second_half_of_geglu_gates_the_first() -> None:
    layer = GEGLU(1, 1)
    layer.proj.weight.copy_(torch.tensor([[3.0], [1.0]]))
    layer.proj.bias.zero_()
    assert layer(torch.tensor([[2.0]])).item() == pytest.approx(6 * 2 * 0.9772499)


def test_samples_of_a_batch_are_independent(model: BaseModel) -> None:
    context, vector = model.text(["a red apple", "the sea"])
    x, t = normal(2, 4, 16, 16), torch.tensor([900.0, 20.0])
    both = model.unet(x, t, context, vector)
    alone = model.unet(x[1:], t[1:], context[1:], vector[1:])
    torch.testing.assert_close(both[1:], alone, rtol=1e-4, atol=1e-5)


def test_odd_latent_sizes_keep_their_size(model: BaseModel) -> None:
    context, vector = model.text(["a"])
    assert model.unet(normal(1, 4, 13, 18), torch.tensor([5.0]), context, vector).shape == (1, 4, 13, 18)


def test_missing_pooled_vector_is_named() -> None:
    with pytest.raises(ValueError, match="pooled text vector y"):
        UNet()(normal(1, 4, 8, 8), torch.tensor([5.0]), normal(1, 16, 64))


def test_first_convolution_widened_with_zeros_changes_nothing(model: BaseModel) -> None:
    before = predict(model, channels=4)
    first = first_convolution(model)
    narrow = first.weight
    context, vector = model.text(["a red apple"])
    t = torch.tensor([500.0])
    for channels in (8, 12):
        wide = torch.zeros(narrow.shape[0], channels, 3, 3)
        wide[:, :4] = narrow
        first.weight = nn.Parameter(wide)
        x = torch.cat([normal(1, 4, 16, 16), normal(1, channels - 4, 16, 16, seed=5)], dim=1)
        torch.testing.assert_close(model.unet(x, t, context, vector), before, rtol=1e-4, atol=1e-5)


def test_widened_first_convolution_reads_the_condition(
    model: BaseModel, files: dict[str, dict[str, Tensor]]
) -> None:
    offset = files["layer_xl_fg2ble"]["diffusion_model.input_blocks.0.0.weight::diff::0"].float()
    first = first_convolution(model)
    offset[:, :4] += first.weight
    first.weight = nn.Parameter(offset)
    context, vector = model.text(["a red apple"])
    x, t = normal(1, 8, 16, 16), torch.tensor([500.0])
    other = torch.cat([x[:, :4], normal(1, 4, 16, 16, seed=5)], dim=1)
    eps = model.unet(x, t, context, vector)
    assert eps.shape == (1, 4, 16, 16)
    assert (model.unet(other, t, context, vector) - eps).std() > 0.02


def test_untrained_unet_learns_with_every_parameter() -> None:
    with torch.enable_grad():
        unet = UNet()
        optimizer = torch.optim.Adam(unet.parameters(), lr=1e-3)
        target, losses = normal(2, 4, 8, 8, seed=1), []
        for _ in range(6):
            eps = unet(normal(2, 4, 8, 8), torch.tensor([10.0, 900.0]), normal(2, 16, 64), normal(2, 64))
            loss = (eps - target).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]
    # A zeroed layer passes no gradient back before its own first step.
    assert [key for key, p in unet.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_vae_has_the_names_of_latent_diffusion() -> None:
    with torch.device("meta"):
        released = AutoencoderKL(AutoencoderConfig(128, (1, 2, 4, 4), num_res_blocks=2))
    assert sum(p.numel() for p in released.parameters()) == 83_653_863
    vae = AutoencoderKL()
    found = shapes(vae)
    assert {key: found.get(key) for key in VAE_SHAPES} == VAE_SHAPES
    assert not any(
        key.startswith(("encoder.down.3.downsample", "decoder.up.0.upsample")) or "conv_shortcut" in key
        for key in found
    )
    assert sum(p.numel() for p in vae.parameters()) < 1.5e6


@pytest.mark.parametrize(("height", "width"), [(128, 128), (200, 264), (75, 133)])
def test_vae_shapes(model: BaseModel, height: int, width: int) -> None:
    mean, logvar = model.vae.moments(normal(1, 3, height, width).clamp(-1, 1))
    assert mean.shape == logvar.shape == (1, 4, height // 8, width // 8)
    assert 2 < mean.std() < 20
    assert logvar.min() >= -30
    assert logvar.max() <= 20
    picture = model.vae.decode(mean)
    assert picture.shape == (1, 3, height // 8 * 8, width // 8 * 8)
    assert 0.1 < picture.std() < 1.5


def test_vae_downsampling_pads_the_bottom_right_only() -> None:
    downsample = AutoencoderKL().get_submodule("encoder.down.0.downsample")
    nn.init.ones_(downsample.get_parameter("conv.weight"))
    nn.init.zeros_(downsample.get_parameter("conv.bias"))
    summed = downsample(torch.ones(1, 16, 4, 4))[0, 0]
    assert summed.tolist() == [[9 * 16.0, 6 * 16.0], [6 * 16.0, 4 * 16.0]]


def test_vae_norms_keep_the_colour_of_a_flat_picture() -> None:
    norm_out = AutoencoderKL().get_submodule("decoder.norm_out")
    colour = normal(1, 16, 1, 1)
    flat = norm_out(colour.expand(1, 16, 8, 8))
    assert flat.std() > 0.5
    torch.testing.assert_close(norm_out(-colour.expand(1, 16, 8, 8)), -flat)


def test_process_in_and_out_are_inverse() -> None:
    vae, z = AutoencoderKL(), normal(1, 4, 2, 2)
    torch.testing.assert_close(vae.process_in(z), z * 0.13025)
    torch.testing.assert_close(vae.process_out(vae.process_in(z)), z)


def test_prompt_changes_context_and_vector(model: BaseModel) -> None:
    context, vector = model.text(["a red apple", "A RED, apple!", "a blue apple", "", "red a apple"])
    assert context.shape == (5, 16, 64)
    assert vector.shape == (5, 64)
    torch.testing.assert_close(context[0], context[1])
    for other in (2, 3, 4):
        assert (context[0] - context[other]).abs().max() > 0.1
        assert (vector[0] - vector[other]).abs().max() > 0.01


def test_long_prompt_is_cut_at_sixteen_words(model: BaseModel) -> None:
    words = " ".join(f"word{n}" for n in range(16))
    context, vector = model.text([words, f"{words} more"])
    torch.testing.assert_close(context[0], context[1])
    torch.testing.assert_close(vector[0], vector[1])


def test_schedule_ends() -> None:
    schedule = NoiseSchedule()
    assert schedule.sigma_min == pytest.approx(0.0291672, rel=1e-5)
    assert schedule.sigma_max == pytest.approx(14.6146, rel=1e-5)
    assert schedule.sigmas.dtype == torch.float32


@pytest.mark.parametrize(("percent", "sigma"), SIGMA_AT_PERCENT.items())
def test_percent_to_sigma(percent: float, sigma: float) -> None:
    assert NoiseSchedule().percent_to_sigma(percent) == pytest.approx(sigma, rel=1e-5)


def test_percent_to_sigma_at_and_beyond_the_ends() -> None:
    schedule = NoiseSchedule()
    assert schedule.percent_to_sigma(0.0) == schedule.percent_to_sigma(-1.0) == 999999999.9
    assert schedule.percent_to_sigma(1.0) == schedule.percent_to_sigma(2.0) == 0.0


def test_timestep_inverts_sigma() -> None:
    schedule = NoiseSchedule()
    steps = torch.tensor([[0.0, 0.25, 17.0], [500.5, 998.9, 999.0]])
    torch.testing.assert_close(schedule.timestep(schedule.sigma(steps)), steps, rtol=1e-5, atol=2e-3)
    assert schedule.timestep(torch.tensor([1e-9, 1e9])).tolist() == [0.0, 999.0]


def test_sampling_sigmas_are_even_in_time() -> None:
    schedule = NoiseSchedule()
    sigmas = schedule.sampling_sigmas(4)
    expected = [*(schedule.sigmas[t] for t in (999, 666, 333, 0)), 0.0]
    torch.testing.assert_close(sigmas, torch.tensor(expected), rtol=1e-5, atol=0.0)


def test_input_scaling_and_denoised() -> None:
    schedule, sigma = NoiseSchedule(), torch.tensor([3.0, 0.75])
    x = torch.ones(2, 4, 2, 2)
    assert schedule.network_input(x, sigma)[:, 0, 0, 0].tolist() == pytest.approx([0.1**0.5, 0.8])
    assert schedule.denoised(x, sigma, 0.5 * x)[:, 0, 0, 0].tolist() == pytest.approx([-0.5, 0.625])


def test_ancestral_step_keeps_the_noise_level() -> None:
    down, up = ancestral_step(2.0, 1.0)
    assert up == pytest.approx(0.75**0.5)
    assert down == pytest.approx(0.5)
    assert ancestral_step(2.0, 1.0, eta=0.0) == (1.0, 0.0)
    assert ancestral_step(2.0, 0.0) == (0.0, 0.0)


def test_samplers_reach_the_target_of_a_perfect_denoiser() -> None:
    target, sigmas = normal(2, 4, 4, 4), NoiseSchedule().sampling_sigmas(8)
    seen: list[Tensor] = []
    drawn: list[int] = []

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        seen.append(sigma)
        # What is left after each step must be noise of the level that the denoiser is told.
        assert (x - target).std() == pytest.approx(float(sigma[0]), rel=0.35)
        return target

    def noise(step: int) -> Tensor:
        drawn.append(step)
        return normal(2, 4, 4, 4, seed=100 + step)

    start = target + sigmas[0] * normal(2, 4, 4, 4, seed=9)
    torch.testing.assert_close(
        sample_euler_ancestral(denoise, start, sigmas, noise), target, rtol=0, atol=1e-5
    )
    torch.testing.assert_close(sample_euler(denoise, start, sigmas), target, rtol=0, atol=1e-5)
    assert drawn == list(range(7))
    assert [float(sigma[0]) for sigma in seen] == sigmas[:-1].tolist() * 2
    assert {tuple(sigma.shape) for sigma in seen} == {(2,)}


def test_samplers_turn_noise_into_the_data_distribution() -> None:
    spread = 0.5  # data: independent normal values of this deviation, whose best denoiser is known

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        return x * spread**2 / (spread**2 + sigma[:, None, None, None] ** 2)

    sigmas = NoiseSchedule().sampling_sigmas(400)
    start = normal(8, 4, 16, 16) * sigmas[0]
    ancestral = sample_euler_ancestral(denoise, start, sigmas, lambda n: normal(8, 4, 16, 16, seed=n + 1))
    assert ancestral.std() == pytest.approx(spread, rel=0.06)
    assert sample_euler(denoise, start, sigmas).std() == pytest.approx(spread, rel=0.06)


def test_same_seed_gives_the_same_bytes(state: dict[str, Tensor], tmp_path: Path) -> None:
    again, other = base_state_dict(7), base_state_dict(8)
    assert list(again) == list(state) == list(other)
    assert all(again[key].numpy().tobytes() == state[key].numpy().tobytes() for key in state)
    assert not any(torch.equal(other[key], state[key]) for key in state)
    first, second = (layer_files(tmp_path / name, 7) for name in "ab")
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_tensor_does_not_depend_on_the_size_of_the_model(state: dict[str, Tensor]) -> None:
    deeper = base_state_dict(7, replace(SDXL_MINIATURE, middle_depth=2))
    assert len(deeper) > len(state)
    assert all(torch.equal(deeper[key], value) for key, value in state.items())


def test_weights_are_the_same_on_every_machine(state: dict[str, Tensor]) -> None:
    weight = state[f"{UNET_PREFIX}middle_block.1.proj_in.weight"]
    expected = torch.tensor([-0.0000996, 0.1254488, -0.0407242])
    torch.testing.assert_close(weight[0, :3], expected, rtol=1e-5, atol=1e-6)


def test_pictures_depend_on_the_prompt(model: BaseModel) -> None:
    schedule = NoiseSchedule()
    pictures = []
    for prompt in ("a red apple", "a green bottle on a table"):
        context, vector = model.text([prompt])

        def denoise(x: Tensor, sigma: Tensor, context: Tensor = context, vector: Tensor = vector) -> Tensor:
            eps = model.unet(schedule.network_input(x, sigma), schedule.timestep(sigma), context, vector)
            return schedule.denoised(x, sigma, eps)

        start = normal(1, 4, 8, 8) * schedule.sigma_max
        latent = sample_euler(denoise, start, schedule.sampling_sigmas(4))
        pictures.append(model.vae.decode(model.vae.process_out(latent)))
    assert torch.isfinite(torch.cat(pictures)).all()
    assert (pictures[0] - pictures[1]).abs().mean() > 0.02


def test_layer_files_have_the_released_names(files: dict[str, dict[str, Tensor]]) -> None:
    transparent = {"layer_xl_transparent_attn", "layer_xl_transparent_conv"}
    networks = {"vae_transparent_encoder", "vae_transparent_decoder"}
    sharing = {f"layer_sd15_{name}" for name in ("transparent_attn", "joint", "fg2bg", "bg2fg")}
    networks |= {f"layer_sd15_{name}" for name in networks}
    assert set(files) == transparent | networks | sharing | set(CONDITION_CHANNELS)
    assert {value.dtype for file in files.values() for value in file.values()} == {torch.float16}


def test_attention_file_covers_every_attention(files: dict[str, dict[str, Tensor]]) -> None:
    file = files["layer_xl_transparent_attn"]
    unet = {f"diffusion_model.{key}": value for key, value in UNet().state_dict().items()}
    attentions = sorted(key for key in unet if ".attn" in key and not key.endswith("bias"))
    assert len(attentions) == 88
    assert sorted({key.split("::")[0] for key in file}) == attentions
    for key in attentions:
        up, down = file[f"{key}::lora::0"], file[f"{key}::lora::1"]
        assert up.shape[1] == down.shape[0] == 8
        assert (up @ down).shape == unet[key].shape


@pytest.mark.parametrize("name", ["layer_xl_transparent_conv", *CONDITION_CHANNELS])
def test_offset_files_fit_the_unet(files: dict[str, dict[str, Tensor]], name: str) -> None:
    unet = {f"diffusion_model.{key}": tuple(value.shape) for key, value in UNet().state_dict().items()}
    first = "diffusion_model.input_blocks.0.0.weight"
    unet[first] = (32, CONDITION_CHANNELS.get(name, 4), 3, 3)
    offsets = {key.removesuffix("::diff::0"): tuple(value.shape) for key, value in files[name].items()}
    assert all(key.endswith("::diff::0") for key in files[name])
    assert offsets.items() <= unet.items()
    blocks = {key for key in unet if "out_layers.3" in key}
    assert offsets.keys() >= {first, "diffusion_model.input_blocks.0.0.bias", *blocks}
    assert ("diffusion_model.middle_block.0.in_layers.2.weight" in offsets) == (
        name not in CONDITION_CHANNELS
    )


def test_condition_files_differ(files: dict[str, dict[str, Tensor]]) -> None:
    key = "diffusion_model.input_blocks.0.0.weight::diff::0"
    assert not torch.equal(files["layer_xl_fg2ble"][key], files["layer_xl_bg2ble"][key])
    assert not torch.equal(files["layer_xl_fgble2bg"][key], files["layer_xl_bgble2fg"][key])


def test_transparency_files(files: dict[str, dict[str, Tensor]]) -> None:
    # Tensor and parameter counts of the released networks.
    released = decoder_shapes((32, 32, 64, 128, 256, 512, 512))
    assert len(released) == 538
    assert sum(torch.Size(shape).numel() for shape in released.values()) == 104_104_804
    assert sum(torch.Size(shape).numel() for shape in encoder_shapes().values()) == 1_181_764
    encoder, decoder = files["vae_transparent_encoder"], files["vae_transparent_decoder"]
    assert {key: tuple(value.shape) for key, value in encoder.items()} == encoder_shapes()
    assert {key: tuple(value.shape) for key, value in decoder.items()} == decoder_shapes()
    # The narrow level 4 is as wide as level 3, so its first block needs no shortcut.
    shortcut = "down_blocks.4.resnets.0.conv_shortcut"
    assert released.keys() - decoder.keys() == {f"{shortcut}.weight", f"{shortcut}.bias"}
    assert decoder["latent_conv_in.weight"].shape == (16, 4, 1, 1)
    assert decoder["up_blocks.0.attentions.2.to_out.0.weight"].shape == (64, 64)
    assert decoder["up_blocks.3.resnets.2.conv1.weight"].shape == (32, 48, 3, 3)
    assert decoder["conv_out.weight"].shape == (4, 8, 3, 3)
    assert decoder["conv_out.bias"].mean() == pytest.approx(0.5, abs=0.05)
