"""Stop At over each host's recorded signatures: whose weights count above and below its level."""

from __future__ import annotations

import uuid
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.helpers.stub_hosts import FORGE, NUMBERED, Merged, Stubbed


def test_stop_at_finds_the_weights_that_the_host_keeps(stubbed: Stubbed) -> None:
    merged = Merged(stubbed)
    present = merged.network.get_parameter(merged.name)
    own = merged.own_weights()
    assert len(own) == 1
    with own.in_place():
        # the host's own, not a copy
        assert merged.network.get_parameter(merged.name) is merged.own
    assert merged.network.get_parameter(merged.name) is present


def test_stop_at_keeps_what_others_merged_into_the_same_layer(
    stubbed: Stubbed, monkeypatch: pytest.MonkeyPatch
) -> None:
    merged = Merged(stubbed, theirs=True)
    given: list[Any] = []

    def merge(patches: Any, weight: torch.Tensor, key: str, **more: Any) -> torch.Tensor:
        given.append((patches, key))
        return weight + 5

    def merge_in_place(self: Any, key: str, device_to: Any = None) -> None:
        # as these hosts do, unless there is a backup already
        self.backup.setdefault(key, "its own")
        assert not self.weight_inplace_update
        weight = merge(self.patches[key], merged.network.get_parameter(key), key)
        merged.network.get_submodule("diffusion_model.0").weight = torch.nn.Parameter(weight)

    if stubbed.key in FORGE:
        stubbed.modules["backend.patcher.lora"].merge_lora_to_weight = merge
    elif stubbed.key in NUMBERED:
        merged.original = SimpleNamespace(
            model=merged.network, patches=merged.original.patches, backup=merged.ours.backup
        )
        patcher = type("Patcher", (SimpleNamespace,), {"patch_weight_to_device": merge_in_place})
        merged.original = patcher(**vars(merged.original), weight_inplace_update=True)
        merged.original.backup = {}
    else:
        merged.original.calculate_weight.side_effect = merge
    present = merged.network.get_parameter(merged.name)
    own = merged.own_weights()
    assert len(own) == 1
    assert [(list(patches), key) for patches, key in given] == [([(0.7, "theirs")], merged.name)]
    with own.in_place():
        assert torch.equal(merged.network.get_parameter(merged.name), torch.full((3, 1, 1, 1), 5.0))
    assert merged.network.get_parameter(merged.name) is present
    assert not merged.own.any()
    if stubbed.key in NUMBERED:
        assert merged.original.backup == {}
    # what it merges anew needs room
    merged.free -= 1
    assert merged.own_weights() is None


def test_stop_at_leaves_it_to_the_host_where_its_weights_are_not_as_expected(stubbed: Stubbed) -> None:
    def changed(change: Any) -> Any:
        merged = Merged(stubbed)
        change(merged)
        return merged.own_weights()

    def other_loaded(merged: Merged) -> None:
        merged.network.lora_loader.loaded_hash = "[]"
        merged.network.current_weight_patches_uuid = uuid.UUID(int=3)
        stubbed.memory.current_loaded_models = []

    def other_model(merged: Merged) -> None:
        merged.original.model = torch.nn.Module()

    def no_backup(merged: Merged) -> None:
        merged.backups.clear()
        merged.ours.backup.clear()

    def packed(merged: Merged) -> None:
        merged.own.gguf_cls = object()

    def unlike_any(merged: Merged) -> None:
        del merged.network.lora_loader.backup
        merged.ours.backup = 7

    assert changed(lambda merged: None) is not None
    for change in (other_loaded, other_model, no_backup, packed, unlike_any):
        assert changed(change) is None, change.__name__
