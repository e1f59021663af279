"""Weights that were merged of one layer file, worn while another is merged, over each host's signatures."""

from __future__ import annotations

import torch

from tests.helpers.stub_hosts import Merged, Stubbed

X = torch.zeros(1, 4, 2, 2)


def test_what_was_merged_is_kept_and_worn(stubbed: Stubbed) -> None:
    merged = Merged(stubbed)
    adapter = stubbed.adapter
    merged.free = 10_000.0
    first = merged.network.get_parameter(merged.name)
    with torch.no_grad():
        first.fill_(3)
    kept = adapter.keep_merged(merged.ours, merged.original, X)
    # the host takes it back, and merges another file into the same place
    second = torch.nn.Parameter(torch.full((3, 2, 1, 1), 4.0))
    merged.network.get_submodule("diffusion_model.0").weight = second
    assert adapter.can_wear(kept, merged.original)
    worn = adapter.worn_weights(merged.ours, merged.original, kept, X)
    with worn.in_place():
        assert merged.network.get_parameter(merged.name) is first
    assert merged.network.get_parameter(merged.name) is second


def test_what_would_fill_the_memory_is_not_kept(stubbed: Stubbed) -> None:
    merged = Merged(stubbed)
    size = merged.network.get_parameter(merged.name).nbytes
    merged.free = 2 * size + 2000.0
    assert adapter_keeps(merged)
    merged.free -= 1
    assert not adapter_keeps(merged)


def adapter_keeps(merged: Merged) -> bool:
    return merged.stubbed.adapter.keep_merged(merged.ours, merged.original, X) is not None


def test_what_is_not_in_the_model_is_not_kept(stubbed: Stubbed) -> None:
    merged = Merged(stubbed)
    merged.free = 10_000.0
    merged.original.model = torch.nn.Module()
    assert not adapter_keeps(merged)


def test_what_does_not_fit_is_not_worn(stubbed: Stubbed) -> None:
    """Another model, other LoRAs below, or weights that the host has taken back in place."""
    merged = Merged(stubbed)
    merged.free = 10_000.0
    adapter = stubbed.adapter
    kept = adapter.keep_merged(merged.ours, merged.original, X)
    assert adapter.can_wear(kept, merged.original)
    with_lora = Merged(stubbed, theirs=True).original
    with_lora.model = merged.network
    assert not adapter.can_wear(kept, with_lora)
    assert not adapter.can_wear(kept, Merged(stubbed).original)
    with torch.no_grad():
        merged.network.get_parameter(merged.name).fill_(9)
    assert not adapter.can_wear(kept, merged.original)
