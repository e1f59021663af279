"""Latents of other models than SD's on each host: how many axes they have, and whether the host runs them."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from lib_layerdiffusion.errors import IncompatibleHost
from lib_layerdiffusion.methods import ANIMA, SD15, SDXL
from tests.helpers.stub_hosts import BACKEND, Stubbed


def with_constants(stubbed: Stubbed, *axes: int) -> None:
    mean = torch.full((1, 16, *axes), 0.5)
    scaling = SimpleNamespace(process_in=lambda z: (z - mean) / 2, process_out=lambda z: 2 * z + mean)
    stubbed.adapter.scaling = lambda p: scaling


@pytest.mark.parametrize(("axes", "shape"), [((1, 1), (2, 16, 4, 6)), ((1, 1, 1), (2, 16, 1, 4, 6))])
def test_latents_get_the_axes_that_the_hosts_own_have(
    stubbed: Stubbed, axes: tuple[int, ...], shape: tuple[int, ...]
) -> None:
    with_constants(stubbed, *axes)
    p = stubbed.job()
    found = stubbed.adapter.in_its_form(p, torch.ones(2, 16, 4, 6))
    assert found.shape == shape
    assert stubbed.adapter.to_sampler(p, found).shape == shape
    assert torch.equal(stubbed.adapter.to_vae(p, stubbed.adapter.to_sampler(p, found)), found)


def test_latents_without_the_hosts_time_axis_are_refused(stubbed: Stubbed) -> None:
    with_constants(stubbed, 1, 1, 1)
    p, latent = stubbed.job(), torch.ones(1, 16, 4, 6)
    for scaled in (stubbed.adapter.to_sampler, stubbed.adapter.to_vae):
        with pytest.raises(IncompatibleHost, match=r"\[1, 16, 4, 6\] became \[1, 16, 16, 4, 6\]"):
            scaled(p, latent)


def test_a_first_pass_has_the_range_that_the_host_decodes_to(stubbed: Stubbed) -> None:
    pictures = torch.tensor([0.0, 0.5, 1.0]).view(1, 3, 1, 1)
    given = stubbed.adapter.as_first_pass(stubbed.job(), pictures)
    assert given.flatten().tolist() == ([0, 0.5, 1] if stubbed.key == "neo" else [-1, 0, 1])


def test_a_model_runs_where_the_host_has_an_engine_for_it(
    stubbed: Stubbed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert stubbed.adapter.runs(SDXL)
    assert stubbed.adapter.runs(SD15)
    assert not stubbed.adapter.runs(ANIMA)
    if stubbed.key in BACKEND:
        engines = tmp_path / "diffusion_engine"
        engines.mkdir()
        for name in ("__init__", "anima"):
            (engines / f"{name}.py").touch()
        monkeypatch.setattr(sys.modules["backend"], "__path__", [str(tmp_path)], raising=False)
        monkeypatch.delitem(sys.modules, "backend.diffusion_engine", raising=False)
        assert stubbed.adapter.runs(ANIMA)
        monkeypatch.delitem(sys.modules, "backend.diffusion_engine", raising=False)
