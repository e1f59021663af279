"""Where an inpainted part is put, and which original is kept around it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image

from miniature.webui.processing import Processed
from tests.helpers.jobs import arguments, picture, pixels

Generate = Callable[..., Processed]


def test_only_masked_puts_the_part_into_its_place(generate: Generate) -> None:
    original = Image.fromarray(picture(width=192, height=96))
    place = (112, 16, 176, 80)
    mask = Image.new("L", original.size)
    mask.paste(255, place)
    settings = {"init_images": [original], "image_mask": mask, "inpaint_full_res": True}
    (after,) = pixels(generate(arguments(), **settings))
    part = {"init_images": [original.crop(place)], "image_mask": Image.new("L", (64, 64), 255)}
    (alone,) = pixels(generate(arguments(), **part))
    assert alone[..., 3].std() > 1
    assert (after[16:80, 112:176] == alone).all()


def test_each_picture_of_a_batch_keeps_its_own_outside(generate: Generate) -> None:
    first = picture(width=64, height=64)
    pictures = [first, np.ascontiguousarray(first[::-1, ::-1])]
    mask = Image.new("L", (64, 64))
    mask.paste(255, (0, 0, 24, 64))
    given = [Image.fromarray(one) for one in pictures]
    after = pixels(generate(arguments(), init_images=given, image_mask=mask, batch_size=2))
    assert (after[0][:, 24:] != after[1][:, 24:]).any()
    for result, original in zip(after, pictures, strict=True):
        assert (result[:, 24:] == original[:, 24:]).all()
