"""What does not fit into memory is done in a smaller way, what float16 cannot hold in float32, with the same
picture; what is no picture never becomes one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from lib_layerdiffusion.errors import GenerationFailed, OutOfMemory
from lib_layerdiffusion.methods import SDXL
from lib_layerdiffusion.models.encoder_and_decoder import TransparencyDecoder, TransparencyEncoder
from lib_layerdiffusion.models.strips import StripDecoder
from lib_layerdiffusion.transparency import codec, memory, voting, ways
from lib_layerdiffusion.transparency.voting import PASSES, Votes
from miniature.webui.host import MiniatureHost
from miniature.webui.processing import Processed, Processing, WebUI
from miniature.webui.script import load_script
from tests.helpers.jobs import DECODING, SDXL_METHODS, arguments, notes, picture, request

Generate = Callable[..., Processed]

MESSAGES = (
    "CUDA out of memory. Tried to allocate 2.00 GiB",
    "MPS backend out of memory (MPS allocated: 9.01 GB)",
    "[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory",
    "DefaultCPUAllocator: not enough memory: you tried to allocate 4294967296 bytes.",
    "Could not allocate tensor with 1073741824 bytes. There is not enough GPU video memory available!",
)


@pytest.fixture(scope="module")
def decoder() -> TransparencyDecoder:
    torch.manual_seed(0)
    network = TransparencyDecoder((8, 8, 16, 16, 16, 16, 16)).eval()
    for parameter in network.parameters():
        parameter.data.normal_(0, 0.15)
    return network


@torch.inference_mode()
@torch.inference_mode()
def test_strips_hold_less_at_once(decoder: TransparencyDecoder, monkeypatch: pytest.MonkeyPatch) -> None:
    """The largest input of a convolution, which is what memory goes to, at a sixteenth of the widest."""
    sizes: list[int] = []
    convolve = torch.nn.functional.conv2d

    def measure(x: torch.Tensor, *others: Any, **more: Any) -> torch.Tensor:
        sizes.append(x.numel())
        return convolve(x, *others, **more)

    pixel, latent = torch.rand(1, 3, 512, 512), torch.randn(1, 4, 64, 64)
    monkeypatch.setattr(torch.nn.functional, "conv2d", measure)
    StripDecoder(decoder, 1 << 17, "cpu")(pixel, latent)
    in_strips = max(sizes)
    sizes.clear()
    monkeypatch.undo()
    for module in decoder.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_pre_hook(lambda module, inputs: sizes.append(inputs[0].numel()))
    decoder(pixel, latent)
    assert max(sizes) > 5 * in_strips


@torch.inference_mode()
@pytest.mark.parametrize("size", [(64, 64), (64, 128)])
@pytest.mark.parametrize("at_once", [2, 3, 4, 8])
def test_passes_in_one_batch_vote_alike(
    decoder: TransparencyDecoder, size: tuple[int, int], at_once: int
) -> None:
    torch.manual_seed(2)
    pixel, latent = torch.rand(1, 3, *size), torch.randn(1, 4, size[0] // 8, size[1] // 8)
    batches: list[int] = []

    def decode(pixel: torch.Tensor, latent: torch.Tensor) -> torch.Tensor:
        batches.append(len(pixel))
        return decoder(pixel, latent)

    alone = voting.vote(decoder, pixel, latent)
    together = voting.vote(decode, pixel, latent, Votes(at_once=at_once))
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)
    assert sum(batches) == 8
    assert max(batches) == min(at_once, 8 if size[0] == size[1] else 4)


@torch.inference_mode()
@pytest.mark.parametrize("passes", PASSES)
def test_fewer_passes(decoder: TransparencyDecoder, passes: int) -> None:
    torch.manual_seed(3)
    pixel, latent = torch.rand(1, 3, 64, 64), torch.randn(1, 4, 8, 8)
    single = torch.stack(
        [
            voting._orient_back(
                decoder(voting._orient(pixel, *orientation), voting._orient(latent, *orientation)).clamp(
                    0, 1
                ),
                *orientation,
            )[0]
            for orientation in PASSES[passes]
        ]
    ).numpy()
    expected = np.sort(single, axis=0)[3] if passes == 8 else np.median(single, axis=0)
    done: list[int] = []
    result = voting.vote(decoder, pixel, latent, Votes(passes, each=done.append))
    np.testing.assert_allclose(result.numpy(), expected, atol=1e-6)
    assert done == list(range(1, passes + 1))


@pytest.mark.parametrize("message", MESSAGES)
def test_every_backend_says_it_in_other_words(message: str) -> None:
    assert memory.is_out_of_memory(RuntimeError(message))


@pytest.mark.parametrize("error", [torch.cuda.OutOfMemoryError("x"), MemoryError()])
def test_errors_that_say_it_by_their_kind(error: Exception) -> None:
    assert memory.is_out_of_memory(error)


@pytest.mark.parametrize(
    "error", [RuntimeError("shape mismatch"), ValueError("out of memory"), KeyError("x")]
)
def test_other_errors_are_not_taken_for_it(error: Exception) -> None:
    assert not memory.is_out_of_memory(error)


class Refuse:
    """Stands in front of a function and lets its first `times` calls run out of memory."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, module: Any, name: str, times: int) -> None:
        self.function = getattr(module, name)
        self.times = times
        self.calls = 0
        monkeypatch.setattr(module, name, self)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.calls += 1
        if self.calls <= self.times:
            raise RuntimeError(MESSAGES[0])
        return self.function(*args, **kwargs)


WAYS = ["one pass at a time", "in strips", "in strips and main memory", "on the CPU"]


@pytest.fixture
def accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the ways of a GPU taken, all of which a CPU can go."""
    monkeypatch.setattr(MiniatureHost, "compute_device", lambda self: torch.device("cuda"))


@pytest.mark.parametrize(
    ("device", "side", "passes", "at_once"),
    [("cuda", 512, 8, 4), ("cuda", 256, 8, 8), ("cuda", 256, 2, 2), ("cuda", 768, 8, 1), ("cpu", 256, 8, 1)],
)
def test_an_accelerator_computes_passes_of_small_pictures_together(
    device: str, side: int, passes: int, at_once: int
) -> None:
    """A batch has no more pixels than one pass of a picture of 1024x1024."""
    assert ways.ways(torch.device(device), side, side, Votes(passes))[0].votes.at_once == at_once
    adaptive = ways.ways(torch.device(device), side, side, Votes(adaptive=True))
    assert adaptive[0].votes.at_once == 1


@pytest.mark.usefixtures("accelerator")
@pytest.mark.parametrize("times", [1, 2, 3, 4])
def test_decode_steps_down_until_it_fits(
    webui: WebUI, script: Any, generate: Generate, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    size = {"width": 72, "height": 200}
    expected = np.asarray(generate(arguments(), **size).images[0]).astype(int)
    freed: list[bool] = []
    monkeypatch.setattr(MiniatureHost, "free_memory", lambda self: freed.append(True))
    refuse = Refuse(monkeypatch, ways, "decode_rgba", times)
    p = request(webui, script, arguments(), batch_size=2, **size)
    results = webui.process_images(p).images
    assert np.abs(np.asarray(results[0]).astype(int) - expected).max() <= 1
    assert np.asarray(results[0])[..., 3].std() > 1
    assert notes(p) == [
        f"Memory ran out while decoding the transparency; doing it {way}, which is slower."
        for way in WAYS[:times]
    ]
    assert refuse.calls == times + 2
    assert len(freed) == times
    p = request(webui, script, arguments(), **size)
    webui.process_images(p)
    assert notes(p) == []


@pytest.mark.usefixtures("accelerator")
def test_the_next_picture_begins_where_the_last_one_found_room(
    generate: Generate, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[bool] = []
    decode = ways.decode_rgba

    def too_large_as_a_whole(network: Any, latent: Any, image: Any, votes: Any, run: Any) -> Any:
        tried.append(run is not network)
        if run is network:
            raise RuntimeError(MESSAGES[0])
        return decode(network, latent, image, votes, run)

    monkeypatch.setattr(ways, "decode_rgba", too_large_as_a_whole)
    generate(arguments(), batch_size=3)
    assert tried == [False, False, True, True, True]


@pytest.mark.parametrize(("low_memory", "device"), [(True, "cuda"), (False, "cpu")])
def test_decodes_that_are_in_strips_at_once(
    host: MiniatureHost,
    generate: Generate,
    monkeypatch: pytest.MonkeyPatch,
    low_memory: bool,
    device: str,
) -> None:
    monkeypatch.setattr(MiniatureHost, "compute_device", lambda self: torch.device(device))
    host.settings["layerdiffuse_low_memory"] = low_memory
    whole: list[bool] = []
    decode = ways.decode_rgba

    def watch(network: Any, latent: Any, image: Any, votes: Any, run: Any) -> Any:
        whole.append(run is network)
        return decode(network, latent, image, votes, run)

    monkeypatch.setattr(ways, "decode_rgba", watch)
    generate(arguments(), width=256, height=256)
    assert whole == [False]


def test_decode_that_fits_in_no_way(
    webui: WebUI, script: Any, generate: Generate, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = generate(arguments()).images[0].tobytes()
    Refuse(monkeypatch, ways, "decode_rgba", 99)
    with pytest.raises(OutOfMemory, match="Memory ran out while decoding the transparency, even on the CPU"):
        generate(arguments())
    monkeypatch.undo()
    assert generate(arguments()).images[0].tobytes() == expected


def test_encode_steps_down_to_the_cpu(
    webui: WebUI, script: Any, generate: Generate, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = {"init_images": [Image.fromarray(picture())]}
    expected = generate(arguments(), **fields).images[0].tobytes()
    Refuse(monkeypatch, codec, "encode_offset", 1)
    p = request(webui, script, arguments(), **fields)
    assert webui.process_images(p).images[0].tobytes() == expected
    assert notes(p) == [
        "Memory ran out while encoding the transparency; doing it on the CPU, which is slower."
    ]


@pytest.fixture
def half_script(models_dir: Path) -> Any:
    return load_script(lambda: MiniatureHost(models_dir, dtype=torch.float16))


def test_decode_beyond_float16_is_done_in_float32(
    webui: WebUI, half_script: Any, generate: Generate, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = np.asarray(generate(arguments()).images[0]).astype(int)
    resnet = "mid_block.resnets.0"
    build = TransparencyDecoder.from_state_dict

    def blown_up(state: dict[str, torch.Tensor]) -> TransparencyDecoder:
        # 1e6 is more than float16 holds; a norm takes any factor out again
        state = {key: value.float() for key, value in state.items()}
        for part in ("weight", "bias"):
            state[f"{resnet}.conv1.{part}"] = state[f"{resnet}.conv1.{part}"] * 1e8
        return build(state)

    monkeypatch.setattr(TransparencyDecoder, "from_state_dict", blown_up)
    p = request(webui, half_script, arguments(), batch_size=2)
    result = np.asarray(webui.process_images(p).images[0]).astype(int)
    assert notes(p) == [
        "Numbers became too large for float16 while decoding the transparency; doing it in float32."
    ]
    assert np.abs(result - expected).max() <= 1
    # later jobs know
    p = request(webui, half_script, arguments())
    webui.process_images(p)
    assert notes(p) == []


def test_encode_beyond_float16_is_done_in_float32(
    webui: WebUI, half_script: Any, generate: Generate, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = {"init_images": [Image.fromarray(picture())]}
    build = TransparencyEncoder.from_state_dict

    def blown_up(state: dict[str, torch.Tensor]) -> TransparencyEncoder:
        state = {key: value.float() for key, value in state.items()}
        state["blocks.0.weight"] = state["blocks.0.weight"] * 1e8
        state["blocks.2.weight"] = state["blocks.2.weight"] / 1e8
        return build(state)

    monkeypatch.setattr(TransparencyEncoder, "from_state_dict", blown_up)
    p = request(webui, half_script, arguments(), **fields)
    assert webui.process_images(p).images[0].mode == "RGBA"
    assert notes(p) == [
        "Numbers became too large for float16 while encoding the transparency; doing it in float32."
    ]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_decode_that_gives_no_numbers_is_no_picture(
    webui: WebUI, script: Any, generate: Generate, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    decode = ways.decode_rgba

    def spoil(*args: Any, **kwargs: Any) -> Any:
        rgba = decode(*args, **kwargs)
        rgba[3, 5, 1] = value
        return rgba

    monkeypatch.setattr(ways, "decode_rgba", spoil)
    with pytest.raises(GenerationFailed, match=f"not numbers .* {SDXL.decoder.filename}"):
        generate(arguments())


@pytest.mark.parametrize("method", SDXL_METHODS, ids=lambda method: method.label)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_sampling_that_gives_no_numbers_is_no_picture(
    generate: Generate, monkeypatch: pytest.MonkeyPatch, method: Any, value: float
) -> None:
    sample = Processing.sample

    def spoil(p: Any) -> torch.Tensor:
        latents: torch.Tensor = sample(p)
        latents[-1, 0, 2, 2] = value
        return latents

    monkeypatch.setattr(Processing, "sample", spoil)
    with pytest.raises(GenerationFailed, match="Sampling gave values that are not numbers"):
        generate(arguments(method))


def test_decode_shows_its_progress(host: MiniatureHost, generate: Generate) -> None:
    generate(arguments(DECODING[0]))
    lines = [text for text, _ in host.reported if text.startswith("decoding")]
    assert lines == [f"decoding the transparency: {n} of 8" for n in range(1, 9)]
    assert host.reported[-1] == ("", None)
