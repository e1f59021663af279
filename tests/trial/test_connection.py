"""Where nothing can be tried: one sentence each, and exit status 2; and every way in that there is."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from lib_layerdiffusion.trial import main
from lib_layerdiffusion.trial.client import AUTH
from lib_layerdiffusion.trial.main import ALL_RIGHT, COULD_NOT_RUN
from miniature.webui.api import Refused, serve
from miniature.webui.site import Site
from tests.trial.conftest import QUICK

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = "/sdapi/v1/scripts"
NONE: dict[str, list[str]] = {"txt2img": [], "img2img": []}
OURS = {"txt2img": ["layerdiffuse", "x/y/z plot"]}
LISTED = "/sdapi/v1/extensions"
STATUS = "/layerdiffuse/status"


def look_at(pages: Mapping[str, Any]) -> Callable[..., Any]:
    def look(path: str, query: Mapping[str, str]) -> Any:
        if path not in pages:
            raise Refused(404, "Not Found")
        return pages[path]

    return look


def answer_nothing(path: str, request: Mapping[str, Any]) -> Any:
    raise Refused(404, "Not Found")


def sentence(capsys: pytest.CaptureFixture[str], status: int) -> str:
    assert status == COULD_NOT_RUN
    # what a server in the same process shows of its progress comes before
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.endswith((".", ")"))
    return line


def extension(enabled: bool) -> list[dict[str, Any]]:
    return [{"name": "sd-forge-LayerDiffuse", "enabled": enabled}, {"name": "other", "enabled": True}]


@pytest.mark.parametrize(
    ("pages", "wanted"),
    [
        ({}, "is no WebUI of Stable Diffusion; check the address."),
        ({"/internal/ping": {}}, "runs without its web API; start it with --api."),
        ({SCRIPTS: {"detail": "welcome"}}, "is no WebUI of Stable Diffusion"),
        ({SCRIPTS: NONE}, "LayerDiffuse is not loaded in that WebUI. Install this extension there"),
        ({SCRIPTS: NONE, LISTED: [{"name": "other"}]}, "LayerDiffuse is not loaded in that WebUI."),
        (
            {SCRIPTS: NONE, LISTED: extension(False)},
            "LayerDiffuse is disabled in that WebUI; enable it on the",
        ),
        (
            {SCRIPTS: NONE, LISTED: extension(True)},
            "LayerDiffuse is enabled in that WebUI and was not loaded",
        ),
        ({SCRIPTS: OURS}, "is another extension, or an older one, or could not start"),
        (
            {
                SCRIPTS: OURS,
                STATUS: {"host": "WebUI", "host_version": "1", "version": "2", "problem": "It rains."},
            },
            "LayerDiffuse there cannot run: It rains.",
        ),
        (
            {SCRIPTS: OURS, STATUS: {"host": "", "checkpoint": {"family": "", "title": "flux"}}},
            "The selected checkpoint (flux) is none of SD1.5, SDXL or Anima",
        ),
    ],
)
def test_what_is_not_there(pages: Mapping[str, Any], wanted: str, capsys: pytest.CaptureFixture[str]) -> None:
    with serve(answer_nothing, look_at(pages)) as url:
        assert wanted in sentence(capsys, main.main(["--url", url]))


def test_what_is_found_is_said_before_the_reason(capsys: pytest.CaptureFixture[str]) -> None:
    with serve(answer_nothing, look_at({SCRIPTS: NONE, LISTED: extension(False)})) as url:
        assert main.main(["--url", url]) == COULD_NOT_RUN
    assert capsys.readouterr().out.splitlines() == [
        "A WebUI with its web API.",
        'An extension "sd-forge-LayerDiffuse", disabled.',
    ]


def test_wrong_addresses(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"127.0.0.1:{unused.getsockname()[1]}"
        assert f"Nothing answers at http://{url}; start" in sentence(capsys, main.main(["--url", url]))
    for url in ("ftp://127.0.0.1", "http://", "http://127.0.0.1:port"):
        assert f'"{url}" is no address of a WebUI' in sentence(capsys, main.main(["--url", url]))


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (["--size", "100"], "--size is 100; it must be a multiple of 64"),
        (["--repeats", "0"], "--repeats is 0; it must be from 1 to 50."),
        (["--methods", "glass"], 'LayerDiffuse has no method "glass". Choose one of: '),
        (["--report", __file__], "cannot be a folder for the report"),
    ],
)
def test_wrong_arguments(arguments: list[str], wanted: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert wanted in sentence(capsys, main.main(["--url", "127.0.0.1:9", *arguments]))


def test_methods_of_another_family_than_the_checkpoint(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    with serve(site.answer, site.look) as url:
        status = main.main(["--url", url, "--methods", "sd15"])
        assert "For the SD1.5 methods the WebUI needs an SD1.5 checkpoint" in sentence(capsys, status)
        status = main.main(["--url", url, "--checkpoint", "flux"])
        assert '"flux" is no SD1.5, SDXL or Anima checkpoint that' in sentence(capsys, status)


def test_user_and_password(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with serve(answer_nothing, look_at({SCRIPTS: NONE}), auth="me:se:cret") as url:
        assert "wants a user and a password; give them as --auth" in sentence(
            capsys, main.main(["--url", url])
        )
        wrong = main.main(["--url", url, "--auth", "me:other"])
        assert "refuses this user and password" in sentence(capsys, wrong)
        inside = url.replace("://", "://me:se%3Acret@")
        for arguments in (["--url", url, "--auth", "me:se:cret"], ["--url", inside]):
            assert "is not loaded" in sentence(capsys, main.main(arguments))
        monkeypatch.setenv(AUTH, "me:se:cret")
        assert "is not loaded" in sentence(capsys, main.main(["--url", url]))


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    if shutil.which("openssl") is None:
        pytest.skip("A certificate of one's own is made by openssl.")
    folder = tmp_path_factory.mktemp("tls")
    command = (
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -keyout key -out certificate"
    )
    subprocess.run(command.split(), cwd=folder, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "certificate", folder / "key")
    return context


def test_a_slow_webui_with_https_and_a_password(
    site: Site, tls: ssl.SSLContext, capsys: pytest.CaptureFixture[str]
) -> None:
    def slow_answer(path: str, request: Mapping[str, Any]) -> Any:
        time.sleep(0.2)
        return site.answer(path, request)

    one = ["--methods", "layer_xl_transparent_attn", "--no-times", *QUICK, "--auth", "me:secret"]
    with serve(slow_answer, site.look, auth="me:secret", tls=tls) as url:
        assert "is not one that this machine trusts" in sentence(capsys, main.main(["--url", url, *one]))
        plain = url.replace("https", "http")
        assert "broke off" in sentence(capsys, main.main(["--url", plain, *one]))
        hasty = main.main(["--url", url, *one, "--any-certificate", "--seconds", "0.15"])
        assert "did not answer within 0.15 seconds; --seconds gives it longer" in sentence(capsys, hasty)
        assert main.main(["--url", url, *one, "--any-certificate"]) == ALL_RIGHT
    with serve(answer_nothing) as url:
        status = main.main(["--url", url.replace("http", "https")])
        assert "does not speak https" in sentence(capsys, status)


def test_it_needs_the_standard_library_alone() -> None:
    """An interpreter that sees no other package runs it up to the sentence that nothing answers."""
    command = [sys.executable, "-S", "-m", "lib_layerdiffusion", "try", "--url", "127.0.0.1:9"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (COULD_NOT_RUN, "")
    assert done.stderr.startswith("Nothing answers at http://127.0.0.1:9;")
