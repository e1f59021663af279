"""Time and size of layered files, against psd-tools and against the PNGs of the layers alone.

    python -m benchmarks.layer_files [--size 1024] [--rounds 7]

Four layers: a background and three cut-outs with soft edges, as large as the canvas, as a generation gives
them. psd-tools needs a newer Pillow than hosts have: `python dev.py check` makes `.venv-newest`, whose Python
has it. Ours cuts layers to what shows; `whole` is the same without.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.report import Report, paired, parse, parser
from lib_layerdiffusion.pictures.ora import encode_ora
from lib_layerdiffusion.pictures.psd import encode_psd
from lib_layerdiffusion.pictures.stack import Layer, Stack

CUT_OUTS = Path(__file__).parents[1] / "tests" / "held_out"


def layers(side: int) -> list[Layer]:
    random = np.random.default_rng(1)
    y, x = np.mgrid[:side, :side].astype(np.float32) / side
    noise = random.normal(0, 2, (side, side, 3))
    meadow = np.stack([90 + 60 * y, 120 + 80 * (1 - y), 220 - 150 * y], -1) + 10 * np.sin(9 * x)[..., None]
    background = np.dstack([(meadow + noise).clip(0, 255), np.full((side, side), 255)]).astype(np.uint8)
    made = [Layer("background", background)]
    for number, path in enumerate(sorted(CUT_OUTS.glob("*.png"))[:3]):
        with Image.open(path) as picture:
            large = picture.convert("RGBA").resize((side // 2, side // 2), Image.Resampling.LANCZOS)
        rgba = np.zeros((side, side, 4), np.uint8)
        rgba[..., :3] = 127
        top = left = side // 8 * (number + 1)
        rgba[top : top + side // 2, left : left + side // 2] = np.asarray(large)
        # what a VAE decodes is never quite flat
        rgba[..., :3] = (rgba[..., :3] + noise).clip(0, 255)
        made.append(Layer(path.stem, rgba))
    return made


def with_psd_tools(stack: Stack) -> bytes:
    from psd_tools import PSDImage

    document = PSDImage.new("RGBA", (stack.width, stack.height))
    for layer in stack.layers():
        document.create_pixel_layer(
            Image.fromarray(layer.picture), name=layer.name, top=layer.top, left=layer.left
        )
    file = io.BytesIO()
    document.save(file)
    return file.getvalue()


def pngs(stack: Stack) -> bytes:
    files = []
    for layer in stack.layers():
        file = io.BytesIO()
        Image.fromarray(layer.picture).save(file, "PNG")
        files.append(file.getvalue())
    return b"".join(files)


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--size", type=int, default=1024)
    chosen = parse(made)
    stack = Stack(chosen.size, chosen.size, layers(chosen.size))
    report = Report("layer_files", settings={"size": chosen.size, "layers": 4})
    others: dict[str, Any] = {"PNGs of the layers": pngs}
    try:
        import psd_tools  # noqa: F401
    except ImportError:
        print("psd-tools is not installed here; see the beginning of this file.")
    else:
        others = {"psd-tools": with_psd_tools, **others}
    ours = {
        "PSD": lambda: encode_psd(stack.cropped()),
        "PSD, whole": lambda: encode_psd(stack),
        "ORA": lambda: encode_ora(stack.cropped()),
    }
    for name, write in ours.items():
        for other, plain in others.items():
            times = paired(chosen.rounds, {"ours": write, "plain": lambda: plain(stack)})  # noqa: B023
            size = len(write()) / len(plain(stack))
            report.compare(
                f"{name} against {other}", times["ours"], times["plain"], size_ratio=round(size, 2)
            )
    report.write(chosen.json)


if __name__ == "__main__":
    main()
