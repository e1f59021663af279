"""Write what the stages resulted in as float16 weight files, where the miniature looks for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor, nn

from lib_layerdiffusion.methods import ANIMA, SDXL
from miniature.nets.random_weights import TEXT_PREFIX, UNET_PREFIX, VAE_PREFIX
from miniature.nets.trained import BASE, BASE_ANIMA, BASE_SD15, DRIFTED, LAYER_FILES
from miniature.training import drift_stage, generator_stage, joint_stage, loop, rgba_generator_stage
from miniature.training.earlier import Earlier

Tensors = Mapping[str, Tensor]
BASES = {path.name for path in (BASE, BASE_SD15, BASE_ANIMA, DRIFTED)}
"""What is no layer file."""


def _half(module: nn.Module, prefix: str = "") -> dict[str, Tensor]:
    return {prefix + key: value.half().contiguous() for key, value in module.state_dict().items()}


def _base(earlier: Earlier) -> Tensors:
    whole = earlier.generator()
    parts = ((whole.unet, UNET_PREFIX), (earlier.vae(), VAE_PREFIX), (whole.text, TEXT_PREFIX))
    return {key: value for part in parts for key, value in _half(*part).items()}


def _patch(earlier: Earlier, task: generator_stage.Task) -> Tensors:
    trained = generator_stage.Patch(earlier.generator().unet, task)
    loop.result(task.file, earlier.folder, trained)
    return trained.tensors()


def _drifted(earlier: Earlier) -> Tensors:
    patch = generator_stage.Patch(earlier.generator().unet, drift_stage.DRIFTED)
    loop.result(drift_stage.DRIFTED.file, earlier.folder, patch)
    return drift_stage.tensors(patch)


def _lora(earlier: Earlier) -> Tensors:
    return rgba_generator_stage.trained_lora(earlier.folder, earlier.unet_anima()).tensors()


def _sharing(earlier: Earlier, name: str) -> Tensors:
    trained = joint_stage.Sharing(earlier.unet_sd15(), joint_stage.METHOD[name])
    loop.result(name, earlier.folder, trained)
    return trained.tensors()


def makers(earlier: Earlier) -> dict[str, Callable[[], Tensors]]:
    """What makes each file, by file name. Each raises Untrained where its stage has not been run."""
    made: dict[str, Callable[[], Tensors]] = {}
    if not earlier.published:
        made[BASE.name] = lambda: _base(earlier)
        made[SDXL.encoder.filename] = lambda: _half(earlier.pair().encoder)
        made[SDXL.decoder.filename] = lambda: _half(earlier.pair().decoder)
        made[ANIMA.decoder.filename] = lambda: _half(earlier.rgba_vae())
    made |= {
        f"{name}.safetensors": partial(_patch, earlier, task) for name, task in generator_stage.TASKS.items()
    }
    made[DRIFTED.name] = lambda: _drifted(earlier)
    made[BASE_SD15.name] = lambda: _half(generator_stage.trained_sd15(earlier.folder), UNET_PREFIX)
    made[BASE_ANIMA.name] = lambda: _half(rgba_generator_stage.trained_base(earlier.folder), UNET_PREFIX)
    made[f"{rgba_generator_stage.LORA.file}.safetensors"] = lambda: _lora(earlier)
    return made | {f"{name}.safetensors": partial(_sharing, earlier, name) for name in joint_stage.METHOD}


def export(earlier: Earlier, weights: Path) -> None:
    """Write all into `weights`, laid out as miniature/weights; without its stage a file stays as it is."""
    for name, make in makers(earlier).items():
        try:
            tensors = make()
        except loop.Untrained as error:
            print(error, flush=True)
            continue
        folder = weights if name in BASES else weights / LAYER_FILES.name
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / name
        save_file({k: v.cpu() for k, v in tensors.items()}, str(path), metadata={"format": "pt"})
        print(f"{path}  {path.stat().st_size / 1e6:.1f} MB", flush=True)
