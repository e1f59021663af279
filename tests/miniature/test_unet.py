"""The miniature's UNet and text encoder: SDXL's names and shapes, and that every input matters."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from miniature.nets.random_weights import (
    BaseModel,
)
from miniature.nets.sampling import sample_euler
from miniature.nets.schedule import NoiseSchedule
from miniature.nets.unet import SD15_MINIATURE, UNet, UNetConfig, timestep_embedding
from miniature.nets.unet_layers import GEGLU
from tests.helpers.small_networks import normal, shapes

pytestmark = pytest.mark.usefixtures("_without_gradients")


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
