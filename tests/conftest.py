"""The miniature WebUI with the extension's script in it, as fixtures."""

from __future__ import annotations

import gc
import shutil
import time
from collections import defaultdict
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest
import torch

from miniature.measure import quality
from miniature.nets.random_weights import (
    TEXT_PREFIX,
    UNET_PREFIX,
    VAE_PREFIX,
    BaseModel,
    base_state_dict,
    layer_files,
    load_base,
)
from miniature.nets.unet import SD15_MINIATURE, SDXL_MINIATURE, UNetConfig
from miniature.training.emoji import CONCEPTS, Emoji
from miniature.webui.host import MiniatureHost
from miniature.webui.processing import Processed, WebUI
from miniature.webui.script import load_script
from miniature.webui.state import state
from tests.helpers.fresh_networks import fresh, read_once
from tests.helpers.jobs import request

# the miniature is too small to gain from more, and loses much where other work shares the cores
torch.set_num_threads(1)

SLOW = Path(__file__).with_name("slow.txt")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--quick", action="store_true", help="leave out the tests that tests/slow.txt names")
    parser.addoption("--times", help="add the seconds that each test took to this file")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    lines = (line.split(" ", 1) for line in SLOW.read_text("utf-8").splitlines())
    slow = {name: float(seconds) for seconds, name in lines}
    # processes take one file after the other: what takes long comes first, so that they end together
    weights: defaultdict[Path, float] = defaultdict(float)
    for item in items:
        weights[item.path] += slow.get(item.nodeid, 0)
    items.sort(key=lambda item: -weights[item.path])
    if config.getoption("--quick"):
        left_out = [item for item in items if item.nodeid in slow]
        items[:] = [item for item in items if item.nodeid not in slow]
        config.hook.pytest_deselected(items=left_out)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    start = time.perf_counter()
    result = yield
    times: str | None = item.config.getoption("--times")
    if times is not None:
        with Path(times).open("a", encoding="utf-8") as file:
            file.write(f"{time.perf_counter() - start:.2f} {item.nodeid}\n")
    return result


def pytest_collection_finish() -> None:
    """Do not look through what is imported for garbage again and again."""
    gc.collect()
    gc.freeze()


# a busy machine is no failure, and a check that passed passes again
hypothesis.settings.register_profile("repeatable", deadline=None, derandomize=True)
hypothesis.settings.load_profile("repeatable")


@pytest.fixture(scope="session")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder of models that no test changes."""
    folder = tmp_path_factory.mktemp("models")
    layer_files(folder / "layer_model", seed=1)
    with read_once(folder / "layer_model"):
        yield folder


@pytest.fixture
def own_files(models_dir: Path, tmp_path: Path) -> Path:
    """The same folder of models for a test that changes it."""
    shutil.copytree(models_dir, tmp_path, ignore=shutil.ignore_patterns(".*"), dirs_exist_ok=True)
    return tmp_path


def shared_base(config: UNetConfig) -> Iterator[BaseModel]:
    """Networks for all tests; nothing may write into their weights, which every `fresh` one has too."""
    state = base_state_dict(1, config)
    model = load_base(state, config)
    yield model
    for network, prefix in zip(model, (UNET_PREFIX, VAE_PREFIX, TEXT_PREFIX), strict=True):
        for name, weight in network.state_dict().items():
            assert torch.equal(weight, state[prefix + name]), f"a test wrote into {prefix}{name}"


@pytest.fixture(scope="session")
def base() -> Iterator[BaseModel]:
    yield from shared_base(SDXL_MINIATURE)


@pytest.fixture(scope="session")
def base15() -> Iterator[BaseModel]:
    yield from shared_base(SD15_MINIATURE)


@pytest.fixture(scope="session")
def known() -> Emoji:
    """What the miniature is trained on, shown by other pictures: the real ones are not committed."""
    pictures = list(quality.held_out().values())
    names = list(CONCEPTS)
    return Emoji(names, np.stack([pictures[n % len(pictures)] for n in range(len(names))]))


@pytest.fixture(autouse=True)
def no_button_is_pressed() -> None:
    """Buttons are the process's, as in hosts."""
    state.begin()


@pytest.fixture
def host(models_dir: Path) -> MiniatureHost:
    return MiniatureHost(models_dir)


@pytest.fixture
def script(host: MiniatureHost) -> Any:
    return load_script(lambda: host)


@pytest.fixture
def make_webui(base: BaseModel) -> Callable[[], WebUI]:
    """A WebUI as after a fresh start: networks that nothing was ever merged into."""
    return lambda: WebUI(fresh(base))


@pytest.fixture
def webui(make_webui: Callable[[], WebUI]) -> WebUI:
    return make_webui()


@pytest.fixture
def generate(webui: WebUI, script: Any) -> Callable[..., Processed]:
    """Run a job of two steps at 64x64; `args` None is the extension switched off."""

    def run(args: list[Any] | None = None, **settings: Any) -> Processed:
        return webui.answer(request(webui, script, args, **settings))

    return run
