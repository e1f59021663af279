"""The stack of layers and its composite."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lib_layerdiffusion.errors import BadPicture
from lib_layerdiffusion.pictures.arithmetic import Uint8Image
from lib_layerdiffusion.pictures.stack import Group, Layer, Stack

RED, BLUE, HALF_GREEN = (255, 0, 0, 255), (0, 0, 255, 255), (0, 200, 0, 128)


def flat(colour: tuple[int, ...], height: int = 4, width: int = 6) -> Uint8Image:
    return np.full((height, width, 4), colour, np.uint8)


def noise(seed: int, height: int, width: int) -> Uint8Image:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 4), np.uint8)


def visible(picture: Uint8Image) -> np.ndarray:
    """Colours times alpha, and alpha: hidden colours do not count."""
    alpha = picture[..., 3:] / 255
    return np.dstack([picture[..., :3] * alpha, picture[..., 3:]])


def test_the_last_layer_lies_on_top() -> None:
    stack = Stack(6, 4, [Layer("red", flat(RED)), Layer("blue", flat(BLUE, 2, 2), left=1, top=1)])
    composite = stack.composite()
    assert tuple(composite[0, 0]) == RED
    assert tuple(composite[2, 2]) == BLUE
    assert (composite[..., 2] == 255).sum() == 4


def test_half_transparent_over_opaque_and_over_nothing() -> None:
    over_red = Stack(6, 4, [Layer("red", flat(RED)), Layer("green", flat(HALF_GREEN))]).composite()
    assert np.abs(over_red[0, 0].astype(int) - (127, 100, 0, 255)).max() <= 1
    assert np.array_equal(Stack(6, 4, [Layer("green", flat(HALF_GREEN))]).composite(), flat(HALF_GREEN))


def test_hidden_layers_and_members_of_hidden_groups_do_not_show() -> None:
    members: list[Layer | Group] = [
        Layer("hidden", flat(RED), visible=False),
        Group("hidden", [Layer("inside", flat(BLUE))], visible=False),
        Layer("off the canvas", flat(RED), left=6),
        Layer("empty", flat(RED, 0, 0)),
    ]
    assert not Stack(6, 4, members).composite().any()


def test_a_group_fades_as_a_whole() -> None:
    """Red under blue, both opaque: faded together nothing of the red may shine through the blue."""
    group = Group("both", [Layer("red", flat(RED)), Layer("blue", flat(BLUE))], opacity=0.5)
    assert tuple(Stack(6, 4, [group]).composite()[0, 0]) == (0, 0, 255, 128)
    one_by_one = [Layer("red", flat(RED), opacity=0.5), Layer("blue", flat(BLUE), opacity=0.5)]
    assert Stack(6, 4, one_by_one).composite()[0, 0, 0] > 80


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(-9, 20), st.integers(-9, 20)), min_size=1, max_size=4))
def test_composite_is_that_of_pillow(places: list[tuple[int, int]]) -> None:
    layers = [Layer(str(n), noise(n, 12, 9), *place) for n, place in enumerate(places)]
    expected = Image.new("RGBA", (20, 17))
    for layer in layers:
        whole = Image.new("RGBA", (20, 17))
        whole.paste(Image.fromarray(layer.picture), (layer.left, layer.top))
        expected.alpha_composite(whole)
    found = Stack(20, 17, layers).composite()
    # Pillow rounds after each layer
    assert np.abs(visible(found) - visible(np.asarray(expected))).max() <= len(layers)


def test_strips_of_a_large_canvas_are_one_picture() -> None:
    """Wide enough to be worked on in several parts, with a layer that begins within one."""
    picture = noise(1, 700, 1500)
    opaque = np.dstack([picture[..., :3], np.full_like(picture[..., :1], 255)])
    assert np.array_equal(Stack(1500, 700, [Layer("whole", opaque)]).composite(), opaque)
    lower = Stack(1500, 700, [Layer("lower", opaque[:400], top=333)]).composite()
    assert np.array_equal(lower[333:], opaque[:367])
    assert not lower[:333].any()


def test_cropped_keeps_what_shows_and_where() -> None:
    picture = flat((9, 8, 7, 0), 30, 40)
    picture[5:9, 10:30, 3] = 200
    picture[6, 12] = (1, 2, 3, 0)
    stack = Stack(60, 50, [Group("inside", [Layer("thing", picture, left=3, top=-2)])])
    (cropped,) = stack.cropped().layers()
    assert (cropped.left, cropped.top, cropped.picture.shape) == (13, 3, (4, 20, 4))
    assert tuple(cropped.picture[1, 2]) == (1, 2, 3, 0)
    assert np.array_equal(stack.cropped().composite(), stack.composite())


def test_cropped_leaves_nothing_of_an_empty_layer() -> None:
    assert Layer("empty", flat((9, 9, 9, 0))).cropped().picture.size == 0


@pytest.mark.parametrize("size", [(0, 5), (5, 0), (30_001, 5), (5, 30_001)])
def test_impossible_canvas(size: tuple[int, int]) -> None:
    with pytest.raises(BadPicture, match=f"of {size[0]}x{size[1]} pixels .* from 1 to 30000"):
        Stack(*size, [])
