"""PSD and OpenRaster files, read back by other programs' readers.

psd-tools needs a newer Pillow than hosts have: `python dev.py check` has it in an environment of its own, and
the tests that need it are skipped elsewhere. Pillow's own reader sees where layers are, and what they make.
"""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from lib_layerdiffusion.errors import BadPicture
from lib_layerdiffusion.pictures import psd
from lib_layerdiffusion.pictures.arithmetic import Uint8Image
from lib_layerdiffusion.pictures.ora import encode_ora
from lib_layerdiffusion.pictures.packbits import pack
from lib_layerdiffusion.pictures.psd import encode_psd
from lib_layerdiffusion.pictures.stack import Group, Layer, Stack
from tests.helpers.layer_readers import described, from_ora, from_psd

NAMES = st.one_of(
    st.sampled_from(["", "Layer 1", "前景", "тень", "glass 🥂", "ü" * 300, "a/b <c> & \"d\" 'e'"]),
    st.text(st.characters(exclude_categories=["C"]), max_size=40),
)


@st.composite
def pictures(draw: st.DrawFn) -> Uint8Image:
    """Up to 600x400: noise, flat parts of runs of any length, or nothing."""
    height = draw(st.one_of(st.integers(0, 40), st.integers(0, 400)))
    width = draw(st.one_of(st.integers(1, 40), st.integers(1, 600))) if height else 0
    random = np.random.default_rng(draw(st.integers(0, 99)))
    kind = draw(st.sampled_from(["noise", "few values", "flat", "clear"]))
    if kind == "noise":
        return random.integers(0, 256, (height, width, 4), np.uint8)
    if kind == "few values":
        return random.integers(0, 2, (height, width, 4), np.uint8) * np.uint8(255)
    return np.full((height, width, 4), (1, 2, 3, 0 if kind == "clear" else 255), np.uint8)


LAYERS = st.builds(
    Layer,
    NAMES,
    pictures(),
    st.integers(-300, 600),
    st.integers(-300, 400),
    st.integers(0, 255).map(lambda level: level / 255),
    st.booleans(),
)
MEMBERS = st.recursive(
    LAYERS,
    lambda inside: st.builds(
        Group,
        NAMES,
        st.lists(inside, max_size=3),
        st.integers(0, 255).map(lambda level: level / 255),
        st.booleans(),
    ),
    max_leaves=6,
)
STACKS = st.builds(Stack, st.integers(1, 600), st.integers(1, 400), st.lists(MEMBERS, min_size=1, max_size=6))
FEW = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))


def names_cut(members: Sequence[Layer | Group]) -> Sequence[Layer | Group]:
    """PSD holds 255 characters of a name."""
    cut: list[Layer | Group] = []
    for member in members:
        if isinstance(member, Group):
            cut.append(Group(member.name[:255], names_cut(member.members), member.opacity, member.visible))
        else:
            shown = member.opacity, member.visible
            cut.append(Layer(member.name[:255], member.picture, member.left, member.top, *shown))
    return cut


def one_pixel(members: Sequence[Layer | Group]) -> Sequence[Layer | Group]:
    """A PNG has at least one pixel."""
    filled: list[Layer | Group] = []
    for member in members:
        if isinstance(member, Group):
            filled.append(Group(member.name, one_pixel(member.members), member.opacity, member.visible))
        else:
            picture = member.picture if member.picture.size else np.zeros((1, 1, 4), np.uint8)
            shown = member.opacity, member.visible
            filled.append(Layer(member.name, picture, member.left, member.top, *shown))
    return filled


def thing(seed: int = 0, size: int = 64) -> Uint8Image:
    """A soft disc with noisy colours, also where it is transparent."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] / size
    alpha = np.clip((0.3 - np.hypot(x - 0.5, y - 0.4)) * 8, 0, 1) * 255
    return np.dstack([random.integers(0, 256, (size, size, 3)), alpha]).astype(np.uint8)


@FEW
@given(STACKS)
def test_any_stack_survives_in_psd(stack: Stack) -> None:
    found, _, _ = from_psd(encode_psd(stack))
    assert (found.width, found.height) == (stack.width, stack.height)
    assert described(found.members) == described(names_cut(stack.members))


@FEW
@given(STACKS)
def test_any_stack_survives_in_ora(stack: Stack) -> None:
    found, merged = from_ora(encode_ora(stack))
    assert (found.width, found.height) == (stack.width, stack.height)
    assert described(found.members) == described(one_pixel(stack.members))
    assert np.array_equal(merged, stack.composite())


def test_psd_reader_makes_our_composite() -> None:
    layers: list[Layer | Group] = [
        Layer("a", thing(1)),
        Group("g", [Layer("b", thing(2), 20, 9)], 0.5),
        Layer("c", thing(3), -9),
    ]
    stack = Stack(80, 70, layers)
    _, merged, own = from_psd(encode_psd(stack))
    ours = stack.composite().astype(int)
    assert np.abs(own[..., 3] - ours[..., 3]).max() <= 1
    assert np.array_equal(merged[..., 3], ours[..., 3])
    shows = ours[..., 3] >= 128
    assert np.abs(own - ours)[shows].max() <= 2
    # it lies over white in the file, so colours lose a level where alpha halves them
    assert np.abs(merged - ours)[shows].max() <= 2


def test_pillow_finds_the_layers_of_a_psd() -> None:
    layers = [Layer("below", thing(1)), Layer("above", thing(2), 10, 6, visible=False)]
    with Image.open(io.BytesIO(encode_psd(Stack(80, 70, layers)))) as file:
        assert (file.format, file.size) == ("PSD", (80, 70))
        found = [entry[:3] for entry in file.layers]
    assert found == [("below", "RGBA", (0, 0, 64, 64)), ("above", "RGBA", (10, 6, 74, 70))]


def test_the_merged_picture_lies_over_white_for_programs_that_read_only_that() -> None:
    stack = Stack(64, 64, [Layer("thing", thing())])
    ours = stack.composite().astype(np.float32)
    over_white = ours[..., :3] * (ours[..., 3:] / 255) + 255 * (1 - ours[..., 3:] / 255)
    with Image.open(io.BytesIO(encode_psd(stack))) as file:
        merged = np.asarray(file.convert("RGB"))
    assert np.abs(merged - over_white).max() <= 0.51


def test_the_same_stack_gives_the_same_bytes() -> None:
    stack = Stack(64, 64, [Layer("thing", thing())])
    assert encode_ora(stack) == encode_ora(stack)
    assert encode_psd(stack) == encode_psd(stack)


def test_characters_that_xml_has_not_become_a_mark() -> None:
    found, _ = from_ora(encode_ora(Stack(4, 4, [Layer("a\x00b\x1b\ud800", thing(0, 4))])))
    assert [layer.name for layer in found.layers()] == ["a\ufffdb\ufffd\ufffd"]


def test_too_large_for_psd(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psd, "LARGEST_FILE", 1000)
    with pytest.raises(BadPicture, match="more than the 2 GB that PSD allows"):
        encode_psd(Stack(64, 64, [Layer("thing", thing())]))


def unpacked(code: bytes) -> bytes:
    """PackBits as Apple's note decodes it."""
    rest, found = iter(code), bytearray()
    for head in rest:
        if head < 128:
            found += bytes(next(rest) for _ in range(head + 1))
        elif head > 128:
            found += bytes([next(rest)]) * (257 - head)
    return bytes(found)


@pytest.mark.parametrize("length", [1, 2, 3, 127, 128, 129, 130, 256, 257, 258, 300])
@pytest.mark.parametrize("kind", ["run", "noise", "both"])
def test_packets_end_where_they_must(length: int, kind: str) -> None:
    row = np.zeros(length, np.uint8) if kind == "run" else np.arange(length, dtype=np.uint8) * 7
    if kind == "both":
        row = np.concatenate([row, row[:1].repeat(length), row])
    code, lengths = pack(np.stack([row, row[::-1], row]))
    assert unpacked(code) == np.stack([row, row[::-1], row]).tobytes()
    assert lengths.sum() == len(code)
    assert unpacked(code[: lengths[0]]) == row.tobytes()
    # at worst a byte more for every 128
    assert lengths.max() <= row.size + -(-row.size // 128)
