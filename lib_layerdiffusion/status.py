"""What this installation is, as data: answered by the WebUI's web API at /layerdiffuse/status.

Nothing personal is in it: no path but the name of the folder of the weight files, no prompt, no name of the
machine. It is only there where the web API is, and asks for the same user and password.
"""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

from lib_layerdiffusion import __version__, doctor
from lib_layerdiffusion.device import device
from lib_layerdiffusion.errors import LayerDiffuseError
from lib_layerdiffusion.files.records import Records
from lib_layerdiffusion.hosts import saved_files
from lib_layerdiffusion.hosts.base import BaseModel, Host
from lib_layerdiffusion.methods import FOLDER, WEIGHT_FILES
from lib_layerdiffusion.request.options import OPTIONS, Options
from lib_layerdiffusion.weight_files import WeightFile

ADDRESS = "/layerdiffuse/status"
API = "/sdapi/v1/txt2img"


def offer(app: Any, adapter: str | None, host: Host | None, problem: str = "") -> None:
    """Have the WebUI's application answer; without its web API it does not.

    `host` is None where LayerDiffuse could not start, for the reason `problem`.
    """
    routes = {getattr(route, "path", ""): route for route in getattr(app, "routes", ())}
    if API not in routes or ADDRESS in routes:
        return

    def answer(checkpoint: str = "") -> dict[str, Any]:
        return status(adapter, host, problem, checkpoint)

    guards = getattr(routes[API], "dependencies", [])
    app.add_api_route(ADDRESS, answer, methods=["GET"], dependencies=guards, response_model=None)


def status(adapter: str | None, host: Host | None, problem: str = "", checkpoint: str = "") -> dict[str, Any]:
    """Return it, as JSON can say it; `checkpoint` asks about another than the selected one."""
    computes = device()
    version = doctor.host_version(None)
    told: dict[str, Any] = {
        "version": __version__,
        "problem": problem,
        "host": doctor.host_name(adapter, version).removesuffix(",") if adapter else "",
        "host_version": version or "",
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "packages": doctor.packages(),
        "device": computes._asdict() if computes else {},
        "saved": saved_files.newest(),
    }
    if host is not None:
        told["host"] = told["host"] or host.capabilities.webui
        told["missing"] = doctor.missing_symbols(adapter) if adapter else []
        told |= _of(host, checkpoint)
    return told


def _of(host: Host, checkpoint: str) -> dict[str, Any]:
    try:
        options = host.options()
    except LayerDiffuseError as error:
        return {"problem": str(error)}
    folder = host.models_dir() / (options.model_folder or FOLDER)
    return {
        "checkpoint": _checkpoint(host.selected_model(checkpoint or None)),
        "folder": folder.name,
        "files": [_file(file, folder, Records(folder)) for file in WEIGHT_FILES],
        "settings": _settings(options),
    }


def _checkpoint(model: BaseModel | None) -> dict[str, str]:
    return {"family": "", "title": ""} if model is None else {"family": model.family, "title": model.title}


def _settings(options: Options) -> dict[str, Any]:
    """Those that name no place of the server's."""
    values = vars(options)
    return {
        option.field: values[option.field]
        for option in OPTIONS
        if option.field in values and not option.server
    }


def _file(file: WeightFile, folder: Path, records: Records) -> dict[str, Any]:
    """Name, bytes (0 where it is not there), whether a release has that size, and what its hash says.

    That is "right", "another", "not read yet", or "not published".
    """
    path = folder / file.filename
    try:
        size = path.stat().st_size
        record = records.get(path)
    except OSError:
        size, record = 0, None
    if not file.sha256:
        checked = "not published"
    elif size and size not in file.sizes:
        checked = "another"
    elif record is None:
        checked = "not read yet"
    else:
        checked = "right" if record.sha256 == file.sha256 else "another"
    problem = record.problem if record is not None else ""
    released = size in file.sizes
    return {"name": file.name, "size": size, "released": released, "hash": checked, "problem": problem}
