"""Write what the stages resulted in as float16 weight files, where the miniature looks for them."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor, nn

from miniature.autoencoder import AutoencoderKL
from miniature.random_weights import TEXT_PREFIX, UNET_PREFIX, VAE_PREFIX
from miniature.training import generator, loop, transparency


def _half(module: nn.Module, prefix: str = "") -> dict[str, Tensor]:
    return {prefix + key: value.half().contiguous() for key, value in module.state_dict().items()}


def _save(tensors: dict[str, Tensor], path: Path) -> None:
    save_file(tensors, str(path), metadata={"format": "pt"})
    print(f"{path}  {path.stat().st_size / 1e6:.1f} MB", flush=True)


def export(folder: Path, vae: AutoencoderKL, weights: Path) -> None:
    """Stages that have not been run are left out. Raises Untrained where there is no base model."""
    files = weights / "layer_model"
    files.mkdir(parents=True, exist_ok=True)
    base = generator.trained(folder)
    parts = ((base.unet, UNET_PREFIX), (vae, VAE_PREFIX), (base.text, TEXT_PREFIX))
    _save({k: v for part in parts for k, v in _half(*part).items()}, weights / "base.safetensors")
    pair = transparency.trained(folder)
    _save(_half(pair.encoder), files / "vae_transparent_encoder.safetensors")
    _save(_half(pair.decoder), files / "vae_transparent_decoder.safetensors")
    for name, task in generator.TASKS.items():
        patch = generator.Patch(base.unet, task)
        try:
            loop.result(name, folder, patch)
        except loop.Untrained as error:
            print(error, flush=True)
        else:
            _save(patch.tensors(), files / f"{name}.safetensors")
