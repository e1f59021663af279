"""LoRA files: both spellings, and what of them fits a model."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lib_layerdiffusion.errors import WrongWeights
from lib_layerdiffusion.files import lora
from lib_layerdiffusion.files.layer_patch import merge

MODEL = {
    "diffusion_model.blocks.0.self_attn.q_proj.weight": (6, 4),
    "diffusion_model.blocks.0.mlp.layer1.weight": (8, 4),
    "diffusion_model.blocks.0.adaln_modulation_mlp.1.weight": (3, 4),
}
PARTS = ("blocks.0.self_attn.q_proj", "blocks.0.mlp.layer1")


def file(spelling: str, alpha: float | None = None) -> dict[str, Tensor]:
    torch.manual_seed(1)
    tensors: dict[str, Tensor] = {}
    for part in PARTS:
        up, down = torch.randn(MODEL[f"diffusion_model.{part}.weight"][0], 2), torch.randn(2, 4)
        if spelling == "peft":
            names = f"diffusion_model.{part}", "lora_B", "lora_A"
        else:
            names = f"{spelling}{part.replace('.', '_')}", "lora_up", "lora_down"
        tensors |= {f"{names[0]}.{names[1]}.weight": up, f"{names[0]}.{names[2]}.weight": down}
        if alpha is not None:
            tensors[f"{names[0]}.alpha"] = torch.tensor(alpha)
    return tensors


def fit(tensors: dict[str, Tensor]) -> dict[str, lora.Part]:
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    return lora.fit(shapes, MODEL, "a.safetensors", "the model")


def changes(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    patches = lora.patches(tensors, fit(tensors))
    return {name: merge(torch.zeros(MODEL[name]), [(patch, 1.0)]) for name, patch in patches.items()}


def test_spellings_give_the_same() -> None:
    wanted = changes(file("peft"))
    assert set(wanted) == {f"diffusion_model.{part}.weight" for part in PARTS}
    for spelling in ("lora_unet_", "lora_unet__"):
        for name, change in changes(file(spelling)).items():
            assert torch.equal(change, wanted[name])


@pytest.mark.parametrize("spelling", ["peft", "lora_unet_"])
def test_alpha_is_over_the_rank(spelling: str) -> None:
    plain = changes(file(spelling))
    for name, change in changes(file(spelling, alpha=1.0)).items():
        torch.testing.assert_close(change, plain[name] / 2)


def test_what_is_read_with_the_prompt_is_left_out() -> None:
    tensors = file("peft")
    part = "diffusion_model.llm_adapter.blocks.0.self_attn.q_proj"
    tensors |= {f"{part}.lora_A.weight": torch.zeros(2, 4), f"{part}.lora_B.weight": torch.zeros(6, 2)}
    assert len(fit(tensors)) == len(PARTS)
    assert lora.left_out({name: tuple(one.shape) for name, one in tensors.items()}) == [
        "llm_adapter_blocks_0_self_attn_q_proj"
    ]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"diffusion_model.blocks.0.self_attn.q_proj.dora_scale": torch.zeros(6)}, "it holds a tensor"),
        ({"blocks.0.mlp.layer2.lora_A.weight": torch.zeros(2, 4)}, "it holds a tensor"),
        ({"diffusion_model.blocks.9.a.lora_A.weight": torch.zeros(2, 4)}, "incomplete"),
        ({"diffusion_model.blocks.0.mlp.layer1.lora_A.weight": torch.zeros(3, 4)}, "LoRA shapes"),
        ({"diffusion_model.blocks.0.mlp.layer1.lora_A.weight": torch.zeros(2, 5)}, r"is \[8, 4\] and"),
        (
            {
                "diffusion_model.blocks.9.a.lora_A.weight": torch.zeros(2, 4),
                "diffusion_model.blocks.9.a.lora_B.weight": torch.zeros(4, 2),
            },
            'no part "blocks_9_a"',
        ),
        ({"diffusion_model.blocks.0.mlp.layer1.alpha": torch.zeros(2)}, "not one number"),
        ({"lora_unet_blocks_0_mlp_layer1.lora_down.weight": torch.zeros(2, 4)}, "it holds two of"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, Tensor], sentence: str) -> None:
    with pytest.raises(WrongWeights, match=sentence):
        fit({**file("peft"), **change})


def test_an_empty_file_is_refused() -> None:
    assert lora.grammar_problem({}) == "it is empty"
