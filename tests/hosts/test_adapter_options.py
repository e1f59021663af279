"""Options of the host that are set for the duration of a block."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from tests.helpers.stub_hosts import Stubbed

NAME = "sd_vae_encode_method"


@pytest.mark.parametrize("before", [{NAME: "TAESD"}, {}], ids=["was set", "was not set"])
def test_an_option_is_put_back_however_the_block_ends(stubbed: Stubbed, before: dict[str, str]) -> None:
    data = dict(before)
    stubbed.modules["modules.shared"].opts = SimpleNamespace(data=data, data_labels={NAME: None})
    with stubbed.adapter.option(NAME, "Full"):
        assert data == {NAME: "Full"}
    assert data == before
    with pytest.raises(ValueError, match="inside"), stubbed.adapter.option(NAME, "Full"):
        raise ValueError("inside")
    assert data == before
    with stubbed.adapter.option("unknown", 1):
        assert data == before
