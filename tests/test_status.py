"""What an installation tells of itself at /layerdiffuse/status."""

from __future__ import annotations

import asyncio
import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from lib_layerdiffusion import __version__, status
from lib_layerdiffusion.errors import IncompatibleHost
from lib_layerdiffusion.files.records import Record, Records
from lib_layerdiffusion.hosts.base import Host
from lib_layerdiffusion.methods import FOLDER, SDXL, WEIGHT_FILES
from miniature.webui.host import MiniatureHost
from miniature.webui.script import load_script
from miniature.webui.site import Application


def test_it_tells_what_is_there_and_nothing_personal(host: MiniatureHost, models_dir: Path) -> None:
    host.settings = {"layerdiffuse_decode_passes": 4, "layerdiffuse_saved_folder": "secret"}
    told = status.status(None, host)
    text = json.dumps(told)
    assert told["version"] == __version__
    assert (told["host"], told["checkpoint"]["family"]) == ("the miniature", "sdxl")
    assert any(text.startswith("torch ") for text in told["packages"])
    assert told["device"]["name"]
    assert told["settings"]["decode_passes"] == 4
    assert [file["name"] for file in told["files"]] == [file.name for file in WEIGHT_FILES]
    assert all(file["size"] and not file["released"] for file in told["files"])
    assert [word for word in (str(models_dir), str(Path.home()), "secret") if word in text] == []


def test_a_file_by_what_is_known_of_it(own_files: Path) -> None:
    host, file = MiniatureHost(own_files), SDXL.decoder
    path = own_files / FOLDER / file.filename

    def told() -> dict[str, Any]:
        return next(one for one in status.status(None, host)["files"] if one["name"] == file.name)

    assert told()["hash"] == "another"
    with path.open("r+b") as opened:
        opened.truncate(file.size)
    assert (told()["hash"], told()["released"]) == ("not read yet", True)
    records = Records(path.parent)
    stat = path.stat()
    for sha256, problem in ((file.sha256, ""), ("0" * 64, "cut off")):
        records.put(path.name, Record(stat.st_size, stat.st_mtime_ns, sha256, problem))
        assert told()["hash"] == ("right" if sha256 == file.sha256 else "another")
        assert told()["problem"] == problem
    path.unlink()
    assert told()["size"] == 0
    shutil.rmtree(own_files / FOLDER)
    assert told()["size"] == 0


def asked(app: Any, address: str, **headers: str) -> Any:
    """What an application answers; its own test client is too old for the newest httpx."""
    httpx = pytest.importorskip("httpx")

    async def ask() -> Any:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://webui") as client:
            return await client.get(address, headers=headers)

    # in a thread of its own: a test in a browser may have left a loop in this one
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, ask()).result()


def test_it_is_there_where_the_web_api_is_and_asks_for_the_same_password(host: MiniatureHost) -> None:
    fastapi = pytest.importorskip("fastapi")

    def guard(word: str = fastapi.Header("")) -> None:
        if word != "open":
            raise fastapi.HTTPException(401)

    app = fastapi.FastAPI()
    status.offer(app, None, host)
    assert asked(app, status.ADDRESS).status_code == 404
    app.add_api_route(status.API, lambda: {}, methods=["POST"], dependencies=[fastapi.Depends(guard)])
    status.offer(app, None, host)
    count = len(app.routes)
    status.offer(app, None, host)
    assert len(app.routes) == count
    assert asked(app, status.ADDRESS).status_code == 401
    answer = asked(app, f"{status.ADDRESS}?checkpoint=sd15", word="open")
    assert answer.json()["checkpoint"]["family"] == "sd15"


def test_where_it_cannot_run_it_tells_why() -> None:
    def detect() -> Host:
        raise IncompatibleHost("It rains.")

    app = Application(status.API)
    load_script(detect).callbacks["on_app_started"](None, app)
    told = app.routes[-1].endpoint()
    assert told["problem"] == "It rains."
    assert "files" not in told
