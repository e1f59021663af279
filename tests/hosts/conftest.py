"""One stub of every host, with the adapter that was found for it."""

from __future__ import annotations

import pytest

from tests.helpers import host_records
from tests.helpers.stub_hosts import Stubbed


@pytest.fixture(params=host_records.HOSTS)
def stubbed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Stubbed:
    return Stubbed(request.param, monkeypatch)
