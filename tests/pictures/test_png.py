"""PNG files read and written without a package, compared with Pillow."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from lib_layerdiffusion.pictures import png


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
@pytest.mark.parametrize("kind", ["smooth", "noise"])
def test_what_pillow_writes_is_read_and_the_other_way_round(mode: str, kind: str) -> None:
    y, x = np.mgrid[:37, :53]
    channels = [x * 3 + y, 255 - y * 5, (x * y) // 8, x * 4]
    values = np.stack(channels[: len(mode)], axis=-1).astype(np.uint8)
    if kind == "noise":
        values = np.random.default_rng(1).integers(0, 256, values.shape, dtype=np.uint8)
    image = Image.fromarray(values.squeeze() if mode == "L" else values, mode)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    read = png.read(buffer.getvalue())
    assert (read.width, read.height, read.mode, read.values) == (53, 37, mode, image.tobytes())
    assert read.plane(0) == values[..., 0].tobytes()
    written = Image.open(io.BytesIO(png.write(read)))
    assert (written.mode, written.size, written.tobytes()) == (mode, image.size, image.tobytes())


@pytest.mark.parametrize("number", range(5))
def test_every_filter_of_rows(number: int) -> None:
    """Rows filtered by the specification's own words; the values come back."""
    values = np.random.default_rng(number).integers(0, 256, (6, 5, 3), dtype=np.uint8).reshape(6, 15)
    filtered = bytearray()
    for row, line in enumerate(values.astype(int)):
        above = values[row - 1].astype(int) if row else line * 0
        left, corner = (np.concatenate([np.zeros(3, int), of[:-3]]) for of in (line, above))
        guess = left + above - corner
        near = [np.abs(guess - of) for of in (left, above, corner)]
        paeth = np.where(
            (near[0] <= near[1]) & (near[0] <= near[2]), left, np.where(near[1] <= near[2], above, corner)
        )
        predicted = (line * 0, left, above, (left + above) // 2, paeth)[number]
        filtered += bytes([number]) + ((line - predicted) % 256).astype(np.uint8).tobytes()
    assert png._unfiltered(bytes(filtered), 15, 3) == values.tobytes()


def test_what_is_no_such_file() -> None:
    good = png.write(png.join(2, 2, bytes(4), bytes(4), bytes(4)))
    for file in (b"", b"GIF89a", good[:40], good.replace(b"\x08\x02", b"\x10\x02"), png.SIGNATURE):
        with pytest.raises(ValueError, match="it is "):
            png.read(file)
