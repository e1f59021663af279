"""The networks of a WebUI that was just started, for the price of their modules alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
import torch
from torch import Tensor, nn

from lib_layerdiffusion.files import tensors
from miniature.nets.random_weights import BaseModel

Net = TypeVar("Net", bound=nn.Module)


def fresh(base: BaseModel) -> BaseModel:
    """Return networks that share nothing with `base` but the values of their weights.

    Whoever patches a network gives its parameters other values and never writes into those they have.
    """
    return BaseModel(copied(base.unet), copied(base.vae), copied(base.text))


def copied(module: Net) -> Net:
    """Return one network like that."""
    copy = object.__new__(type(module))
    # hooks and the like are in dictionaries
    state = {key: value.copy() if isinstance(value, dict) else value for key, value in vars(module).items()}
    state["_parameters"] = {
        name: parameter if parameter is None else nn.Parameter(parameter.data, parameter.requires_grad)
        for name, parameter in module._parameters.items()
    }
    state["_modules"] = {
        name: child if child is None else copied(child) for name, child in module._modules.items()
    }
    vars(copy).update(state)
    return copy


@contextmanager
def read_once(folder: Path) -> Iterator[None]:
    """Within the block, read each network of a folder that no test changes from its file but once.

    Nothing may write into the weights, which all copies have in common.
    """
    network = tensors.network
    read: dict[Any, tuple[nn.Module, dict[str, Tensor]]] = {}

    def fresh_network(path: Path, build: Callable[[Mapping[str, Tensor]], nn.Module]) -> nn.Module:
        if path.parent != folder:
            return network(path, build)
        # a function that is made for each call has the same code
        key = path, getattr(build, "__code__", build)
        if key not in read:
            with torch.inference_mode(False):
                found = network(path, build)
                read[key] = found, {name: weight.clone() for name, weight in found.state_dict().items()}
        return copied(read[key][0])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tensors, "network", fresh_network)
        yield
    for (path, _), (shared, before) in read.items():
        for name, weight in shared.state_dict().items():
            assert torch.equal(weight, before[name]), f"a test wrote into {name} of {path.name}"
