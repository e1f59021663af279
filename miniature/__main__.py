"""The main job without a WebUI, over the trained miniature: a page with the extension's panel.

Where there is no display, or with --out, pictures of every method are written instead. It runs
scripts/forge_layerdiffusion.py, as a host does.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image, PngImagePlugin

from lib_layerdiffusion.errors import LayerDiffuseError
from miniature.training.backgrounds import PLACES
from miniature.webui import demo, random_demo


def save(image: Image.Image, path: Path) -> str:
    """Write a PNG with its infotext; say what is in it."""
    metadata = PngImagePlugin.PngInfo()
    if "parameters" in image.info:
        metadata.add_text("parameters", image.info["parameters"])
    image.save(path, pnginfo=metadata)
    transparency = "opaque"
    if image.mode == "RGBA":
        alpha = np.asarray(image)[..., 3]
        transparency = f"alpha {alpha.min()} to {alpha.max()}, mean {alpha.mean():.0f}"
    return f"{path}  {image.mode} {image.width}x{image.height}  {transparency}"


def has_display() -> bool:
    return sys.platform in ("win32", "darwin") or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY")))


def write(options: argparse.Namespace, out: Path) -> None:
    """The pictures and an index.html of them. Raises LayerDiffuseError."""
    out.mkdir(parents=True, exist_ok=True)
    trained = demo.Trained()
    shown = []
    for made in demo.tour(trained, options.prompt, options.place, options.seed, steps=options.steps):
        named = [*zip(made.layers, made.result.images, strict=True)]
        named += [("-preview", image) for image in made.result.extra_images]
        for kind, image in named:
            path = out / f"{made.name}{kind}.png"
            print(save(image, path), flush=True)
            shown.append(f'<figure><img src="{path.name}"><figcaption>{path.stem}</figcaption></figure>')
    objects = (options.prompt, "star")
    path = out / f"{options.place}.psd"
    path.write_bytes(demo.layered(trained, objects, options.place, options.seed, steps=options.steps))
    print(f"{path}  layers: {options.place}, {', '.join(objects)}", flush=True)
    style = "body{background:repeating-conic-gradient(#888 0 25%,#aaa 0 50%) 0/32px 32px}"
    style += "figure{display:inline-block;margin:8px}img{width:256px;image-rendering:auto}"
    text = f"<!doctype html><meta charset=utf-8><style>{style}</style>{''.join(shown)}\n"
    (out / "index.html").write_text(text, "utf-8")
    print(f"{out / 'index.html'}  all of them")


def serve(port: int | None) -> None:
    from miniature.webui.app import build
    from miniature.webui.components import QUEUE

    page = build(demo.Trained())
    page.queue(**QUEUE)
    page.launch(server_name="127.0.0.1", server_port=port, inbrowser=has_display())


def main() -> int:
    parser = argparse.ArgumentParser(prog="python dev.py demo", description=__doc__)
    parser.add_argument("--out", type=Path, help="write PNGs into this folder (without a display: outputs)")
    parser.add_argument("--page", action="store_true", help="open the page even without a display")
    parser.add_argument("--port", type=int, help="of the page")
    parser.add_argument("--prompt", default="red apple", help="what to draw")
    parser.add_argument("--place", default="meadow", choices=PLACES, help="where, for blended pictures")
    parser.add_argument("--steps", type=int, default=demo.STEPS)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--random", action="store_true", help="all ten methods over random weights instead: noise"
    )
    options = parser.parse_args()
    if options.steps < 1:
        parser.error("at least one step is needed")
    # the networks are too small to gain from more, and lose much where other work shares the cores
    torch.set_num_threads(1)
    out = options.out or Path("outputs")
    try:
        if options.random:
            for image, path in random_demo.pictures(out, options.prompt, options.steps, options.seed):
                print(save(image, path), flush=True)
        elif options.out is None and (options.page or has_display()):
            serve(options.port)
        else:
            write(options, out)
    except LayerDiffuseError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
