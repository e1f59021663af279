"""What is at the address: a WebUI, its web API, LayerDiffuse in it; or why one of them is not."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import quote

from lib_layerdiffusion.trial.client import Client, Refused, Unusable

SCRIPT = "layerdiffuse"
STATUS = "/layerdiffuse/status"
WAITS = (1, 2, 4, 8)
"""Seconds between two tries."""
HERE = "Install this extension there, and restart the WebUI."


def status(client: Client, found: list[str]) -> dict[str, Any]:
    """Return what LayerDiffuse there tells of itself. Raises Unusable.

    What is found on the way, as far as that goes, is added to `found` as sentences.
    """
    scripts = _scripts(client, found)
    extension = _extension(client, found)
    if SCRIPT not in scripts:
        if extension is None:
            found.append("No extension of this name among those that it lists.")
        raise Unusable(_why_missing(extension))
    try:
        told = state(client)
    except Refused as refused:
        if refused.status != 404:
            raise Unusable(f"LayerDiffuse there cannot tell its state ({refused}).") from refused
        raise Unusable(
            "The LayerDiffuse that is loaded there is another extension, or an older one, or could not "
            f"start; its panel says why in the last case. {HERE}"
        ) from refused
    if not isinstance(told, dict) or "host" not in told:
        raise Unusable(f"LayerDiffuse there tells its state in a way that is not known. {HERE}")
    found.append(
        f"LayerDiffuse {told.get('version')} on {told['host']} {told.get('host_version')}.".replace(" .", ".")
    )
    if told.get("problem"):
        raise Unusable(f"LayerDiffuse there cannot run: {told['problem']}")
    if told.get("missing"):
        found.append(f"This version of the WebUI lacks {', '.join(told['missing'])}.")
    return told


def state(client: Client) -> Any:
    """Return what it tells, asked again while a WebUI that has just been started does not. Raises Refused."""
    for seconds in WAITS:
        try:
            return client.get(STATUS)
        except Refused as refused:
            if refused.status != 404:
                raise
        time.sleep(seconds)
    return client.get(STATUS)


def of_checkpoint(client: Client, name: str) -> dict[str, str]:
    """Return family and title of the checkpoint called so, "" where there is none."""
    try:
        told = client.get(f"{STATUS}?checkpoint={quote(name)}")
    except Refused as refused:
        raise Unusable(f'What the checkpoint "{name}" is could not be told ({refused}).') from refused
    return dict(told.get("checkpoint") or {"family": "", "title": ""})


def _scripts(client: Client, found: list[str]) -> set[str]:
    """Names of the scripts that are loaded."""
    try:
        told = client.get("/sdapi/v1/scripts")
    except Refused as refused:
        if refused.status not in (404, 405, 200):
            raise Unusable(
                f"The web API of {client.url} fails ({refused}); its console says why."
            ) from refused
        raise Unusable(_why_no_api(client)) from refused
    names = told.get("txt2img") if isinstance(told, dict) else None
    if not isinstance(names, list):
        raise Unusable(f"What answers at {client.url} is no WebUI of Stable Diffusion; check the address.")
    found.append("A WebUI with its web API.")
    return {str(name).lower() for name in names}


def _why_no_api(client: Client) -> str:
    try:
        client.get("/internal/ping")
    except Refused:
        return f"What answers at {client.url} is no WebUI of Stable Diffusion; check the address."
    return f"The WebUI at {client.url} runs without its web API; start it with --api."


def _extension(client: Client, found: list[str]) -> dict[str, Any] | None:
    """What the WebUI lists of an extension whose name or address looks like this one."""
    try:
        told = client.get("/sdapi/v1/extensions")
    except Refused:
        return None
    listed = [one for one in told if isinstance(one, dict)] if isinstance(told, list) else []
    for one in listed:
        if SCRIPT in f"{one.get('name', '')} {one.get('remote', '')}".lower().replace("-", ""):
            state = "enabled" if one.get("enabled") else "disabled"
            found.append(f'An extension "{one.get("name")}", {state}.')
            return one
    # hosts leave out what came without git
    return None


def _why_missing(extension: dict[str, Any] | None) -> str:
    if extension is None:
        return f"LayerDiffuse is not loaded in that WebUI. {HERE}"
    if not extension.get("enabled"):
        return "LayerDiffuse is disabled in that WebUI; enable it on the Extensions tab, and restart."
    return (
        "LayerDiffuse is enabled in that WebUI and was not loaded; restart it, and if that does not help, "
        "its console says why."
    )
