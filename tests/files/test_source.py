"""A mirror with user and password: both reach it, and neither is shown anywhere."""

from __future__ import annotations

import base64
import logging
from pathlib import Path

import pytest

from lib_layerdiffusion import command
from lib_layerdiffusion.errors import BadSetting, DownloadFailed, WeightsError
from lib_layerdiffusion.files import download
from lib_layerdiffusion.files.source import Source, address, without_login
from lib_layerdiffusion.files.store import WeightStore
from lib_layerdiffusion.request.options import Options
from tests.helpers.downloads import CONTENT, FILE
from tests.helpers.hub_server import Hub

LOGIN = "zoë:s3cr3t%40/word@x"
"""As people write them: the @, the slash and the letter beyond ASCII ought to be percent signs."""
SHOULD_BE = base64.b64encode("zoë:s3cr3t@/word@x".encode()).decode()


def with_login(hub: Hub) -> str:
    return hub.endpoint.replace("://", f"://{LOGIN}@")


@pytest.mark.parametrize(
    ("given", "shown", "login"),
    [
        ("https://mirror.example", "https://mirror.example", None),
        ("https://mirror.example/hub/", "https://mirror.example/hub", None),
        ("https://me:word@mirror.example", "https://mirror.example", "me:word"),
        ("https://me@mirror.example:8443/a", "https://mirror.example:8443/a", "me"),
        ("https://me:w%40rd@mirror.example", "https://mirror.example", "me:w@rd"),
        ("https://me:w@rd@mirror.example", "https://mirror.example", "me:w@rd"),
        ("me:word@mirror.example", "mirror.example", None),
        ("", "https://huggingface.co", None),
    ],
)
def test_what_an_address_names(
    monkeypatch: pytest.MonkeyPatch, given: str, shown: str, login: str | None
) -> None:
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    wanted = None if login is None else f"Basic {base64.b64encode(login.encode()).decode()}"
    source = Source(given)
    assert (source.address, source.authorization) == (shown, wanted)
    assert address(FILE, source).startswith(f"{shown}/LayerDiffusion/")
    assert given not in repr(source) or not given
    monkeypatch.setenv("HF_ENDPOINT", given)
    assert (Source().address, Source().authorization) == (shown, wanted)


@pytest.mark.parametrize("by_environment", [True, False])
def test_user_and_password_reach_the_mirror(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by_environment: bool
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("HF_ENDPOINT", with_login(hub) if by_environment else "")
    source = Source("" if by_environment else with_login(hub))
    assert WeightStore(tmp_path, source).ensure(FILE).read_bytes() == CONTENT
    assert f"Basic {SHOULD_BE}" in hub.tokens
    assert hub.tokens <= {f"Basic {SHOULD_BE}", None}


@pytest.mark.parametrize("status", [401, 404, 500])
def test_what_fails_shows_neither(
    hub: Hub, tmp_path: Path, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    hub.statuses = [status] * 99
    with caplog.at_level(logging.DEBUG), pytest.raises(DownloadFailed) as caught:
        WeightStore(tmp_path, Source(with_login(hub))).ensure(FILE)
    assert hub.endpoint in str(caught.value)
    for text in (str(caught.value), caught.value.detail, caplog.text):
        assert "s3cr3t" not in text
        assert "zo" not in text.replace(str(tmp_path), "")


def test_no_connection_shows_neither(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(download, "WAITS", ())
    with caplog.at_level(logging.DEBUG), pytest.raises(DownloadFailed) as caught:
        WeightStore(tmp_path, Source(f"http://{LOGIN}@127.0.0.1:9/mirror")).ensure(FILE)
    assert "s3cr3t" not in str(caught.value) + caplog.text
    assert "put http://127.0.0.1:9/mirror/" in str(caught.value)


def test_the_command_shows_neither(hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [FILE.name, "--folder", str(tmp_path), "--endpoint", with_login(hub)]
    hub.statuses = [404]
    for name in ("where", "fetch", "fetch", "list", "where"):
        command.main([name, *arguments])
    shown = capsys.readouterr()
    assert f"{hub.endpoint}/LayerDiffusion/" in shown.out
    assert "s3cr3t" not in shown.out + shown.err
    assert (tmp_path / FILE.filename).read_bytes() == CONTENT


@pytest.mark.parametrize("source", [f"ftp://{LOGIN}@mirror", f"{LOGIN}@mirror", ["https://me:s3cr3t@mirror"]])
def test_a_setting_that_is_refused_shows_neither(source: object) -> None:
    with pytest.raises(BadSetting) as caught:
        Options.of({"layerdiffuse_download_source": source})
    assert "s3cr3t" not in str(caught.value)
    assert "mirror" in str(caught.value)


def test_what_the_library_says_is_shown_without_them() -> None:
    text = "Client error for https://me:word@mirror.example/a@b, and http://me@mirror:1 (proxy)"
    assert without_login(text) == "Client error for https://mirror.example/a@b, and http://mirror:1 (proxy)"
    assert issubclass(DownloadFailed, WeightsError)
