"""Sample sheets of the trained family, as the documents show them: `python -m miniature.measure.sheets`."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from lib_layerdiffusion.methods import ANIMA, SD15, SDXL
from lib_layerdiffusion.pictures.arithmetic import FloatImage, checkerboard
from miniature.measure import agreement, quality
from miniature.webui.demo import METHOD, Trained

DRAWN = "red apple, banana, strawberry, panda, owl, rose, wine glass, crystal ball, fire, rocket"


def shown(picture: FloatImage) -> FloatImage:
    """RGBA over a checkerboard; RGB as it is."""
    if picture.shape[2] == 3:
        return picture
    board = checkerboard(picture.shape[0], picture.shape[1], cell=16)
    return np.asarray(picture[..., :3] * picture[..., 3:] + board * (1 - picture[..., 3:]), np.float32)


def write(rows: list[list[FloatImage]], path: Path) -> None:
    sheet = np.concatenate([np.concatenate([shown(one) for one in row], axis=1) for row in rows])
    image = Image.fromarray((sheet * 255).round().clip(0, 255).astype(np.uint8))
    image.quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"{path}  {path.stat().st_size / 1000:.0f} kB", flush=True)


def generated(trained: Trained) -> list[list[FloatImage]]:
    """With the attention patch, with the conv patch, and the checkpoint alone."""
    rows = []
    for arguments in (
        [{"method": METHOD["layer_xl_transparent_attn"].label}],
        [{"method": METHOD["layer_xl_transparent_conv"].label}],
        [False],
    ):
        results = [trained.run(arguments, prompt=prompt, seed=1) for prompt in DRAWN.split(", ")]
        rows.append([quality.as_float(result.images[0]) for result in results])
    return rows


def layered(trained: Trained) -> list[list[FloatImage]]:
    """One scene a row: foreground, background, both; then what the four layer-conditioned methods make."""
    rows = []
    for scene in quality.scenes(trained):
        rows.append(
            [
                quality.as_float(scene.foreground),
                scene.background,
                scene.blended,
                quality.layered(trained, "layer_xl_fg2ble", scene, scene.both),
                quality.layered(trained, "layer_xl_fgble2bg", scene, scene.place),
                quality.layered(trained, "layer_xl_bg2ble", scene, scene.both),
                quality.layered(trained, "layer_xl_bgble2fg", scene, scene.prompt),
            ]
        )
    return rows


def together(trained: Trained) -> list[list[FloatImage]]:
    """One scene a row: what the SD1.5 methods make together, after a foreground, and after a background."""
    known = quality.scenes(trained)
    trained.load(SD15)
    rows = []
    for scene in known:
        together = agreement.together(trained, scene.prompt, scene.place, seed=1)
        around = agreement.around_foreground(trained, scene, scene.both)
        before = agreement.before_background(trained, scene, scene.both)
        rows.append(
            [
                *(together.foreground, together.background, together.blended),
                *(quality.as_float(scene.foreground), around.background, around.blended),
                *(scene.background, before.foreground, before.blended),
            ]
        )
    trained.load(SDXL)
    return rows


def round_trips(trained: Trained) -> list[list[FloatImage]]:
    """Held-out pictures, see-through ones, above what encoding and decoding leaves of them."""
    given = list(quality.see_through(quality.held_out()).values())[::2]
    start = {"denoising_strength": 0.0, "cfg_scale": 1.0}
    arguments = [{"method": METHOD["layer_xl_transparent_attn"].label}]
    results = [trained.run(arguments, init_images=[Image.fromarray(rgba)], **start) for rgba in given]
    return [
        [quality.as_float(rgba) for rgba in given],
        [quality.as_float(result.images[0]) for result in results],
    ]


def with_rgba_vae(trained: Trained) -> list[list[FloatImage]]:
    """With the LoRA, with a Weight of 0; held-out pictures, above what encoding and decoding leaves."""
    drawn = DRAWN.split(", ")
    given = list(quality.see_through(quality.held_out()).values())[::2][: len(drawn)]
    arguments = {"method": quality.RGBA_VAE.label}
    start = {"denoising_strength": 0.0, "cfg_scale": 1.0}
    trained.load(ANIMA)
    results = [
        [trained.run([arguments], prompt=prompt, seed=1) for prompt in drawn],
        [trained.run([{**arguments, "weight": 0.0}], prompt=prompt, seed=1) for prompt in drawn],
        [trained.run([arguments], init_images=[Image.fromarray(rgba)], **start) for rgba in given],
    ]
    trained.load(SDXL)
    made = [[quality.as_float(result.images[0]) for result in row] for row in results]
    return [*made[:2], [quality.as_float(rgba) for rgba in given], made[2]]


SHEETS = {
    "generated": generated,
    "layers": layered,
    "held-out": round_trips,
    "joint": together,
    "rgba-vae": with_rgba_vae,
}


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    trained = Trained()
    for name, make in SHEETS.items():
        write(make(trained), folder / f"miniature-{name}.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
