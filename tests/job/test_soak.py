"""Many generations in one process, mixed methods, families and faults: nothing grows."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from benchmarks.soak import soak

CYCLE = 21
"""Jobs until the same ones come again."""


def test_nothing_grows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # pytest keeps what is logged, and with a traceback what its frames hold
    monkeypatch.setattr(logging.getLogger("layerdiffuse"), "disabled", True)
    samples = list(soak(2 * CYCLE + 10, tmp_path))
    # the first twelve load all networks; from then on the same job leaves the same behind
    for earlier, later in zip(samples[12 : CYCLE + 10], samples[CYCLE + 12 :], strict=True):
        assert later.name == earlier.name
        assert later.tensors <= earlier.tensors + 400, later.name
        assert later.files == earlier.files, later.name
    assert {sample.patches for sample in samples} == {0}
    assert {sample.forwards for sample in samples} == {0}
    assert samples[-1].resident < samples[CYCLE].resident + 60
