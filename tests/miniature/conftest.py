"""The miniature's networks with random weights."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from miniature.nets.random_weights import (
    BaseModel,
    base_state_dict,
    layer_files,
    load_base,
)


@pytest.fixture(scope="module")
def _without_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    return base_state_dict(7)


@pytest.fixture
def model(state: dict[str, Tensor]) -> BaseModel:
    return load_base(state)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Tensor]]:
    return {path.stem: load_file(path) for path in layer_files(tmp_path_factory.mktemp("layer_model"), 7)}
