"""A WebUI's web API, asked with the standard library: every way in which it may not answer is a sentence."""

from __future__ import annotations

import base64
import ipaddress
import json
import socket
import ssl
import urllib.error
import urllib.request
from http.client import HTTPException
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

AUTH = "LAYERDIFFUSE_AUTH"
"""The environment variable for user:password."""
SHOWN = 300
"""Characters of an answer that a sentence repeats."""


class Unusable(Exception):
    """Nothing can be tried there; a sentence for the user."""


class Refused(Exception):
    """The WebUI answered a request with an error: a status of HTTP, and what it says."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(f"status {status}: {detail}" if detail else f"status {status}")
        self.status = status
        self.detail = detail


class Client:
    """Asks one WebUI. `auth` is "user:password" or "", `seconds` how long an answer may take.

    Raises Unusable for an address that is none.
    """

    def __init__(self, url: str, auth: str = "", seconds: float = 600, any_certificate: bool = False) -> None:
        self.url, in_address = _address(url)
        self.seconds = seconds
        self._auth = auth or in_address
        context = ssl.create_default_context()
        if any_certificate:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        handlers: list[Any] = [urllib.request.HTTPSHandler(context=context)]
        if _is_here(self.url):
            # whatever proxy the system has, it is not for this machine
            handlers.append(urllib.request.ProxyHandler({}))
        self._open = urllib.request.build_opener(*handlers).open

    def get(self, path: str) -> Any:
        """Return the answer, read as JSON. Raises Unusable and Refused."""
        return self._ask(path, None)

    def post(self, path: str, body: Any) -> Any:
        """The same for a request with a body."""
        return self._ask(path, json.dumps(body).encode())

    def _ask(self, path: str, body: bytes | None) -> Any:
        headers = {"Content-Type": "application/json"} if body is not None else {}
        if self._auth:
            headers["Authorization"] = f"Basic {base64.b64encode(self._auth.encode()).decode()}"
        request = urllib.request.Request(self.url + path, body, headers)
        try:
            with self._open(request, timeout=self.seconds) as answer:
                text = answer.read()
        except urllib.error.HTTPError as error:
            raise self._refused(error) from error
        except (OSError, HTTPException) as error:
            raise Unusable(self._why(getattr(error, "reason", error))) from error
        try:
            return json.loads(text)
        except ValueError as error:
            raise Refused(200, "the answer is no JSON") from error

    def _refused(self, error: urllib.error.HTTPError) -> Exception:
        if error.code == 401:
            if self._auth:
                return Unusable(f"{self.url} refuses this user and password; they are those of --api-auth.")
            return Unusable(
                f"{self.url} wants a user and a password; give them as --auth user:password, or in the "
                f"environment variable {AUTH}."
            )
        try:
            told = json.loads(error.read())
        except (OSError, ValueError, HTTPException):
            told = {}
        told = told if isinstance(told, dict) else {}
        detail = told.get("detail") or told.get("errors") or ""
        detail = detail if isinstance(detail, str) else json.dumps(detail)
        return Refused(error.code, " ".join(detail.split())[:SHOWN])

    def _why(self, reason: Any) -> str:
        if isinstance(reason, ssl.SSLCertVerificationError):
            return (
                f"The certificate of {self.url} is not one that this machine trusts "
                f"({reason.verify_message}); if it is your own, add --any-certificate."
            )
        if isinstance(reason, ssl.SSLError):
            return f"{self.url} does not speak https; try the address with http://."
        if isinstance(reason, TimeoutError | socket.timeout):
            return (
                f"{self.url} did not answer within {self.seconds:g} seconds; --seconds gives it longer, "
                "and its console says what it is doing."
            )
        if isinstance(reason, socket.gaierror):
            return f"The name in {self.url} leads nowhere; check the address."
        if isinstance(reason, ConnectionRefusedError):
            return f"Nothing answers at {self.url}; start the WebUI, or check the address and its port."
        return (
            f"{self.url} broke off ({reason or type(reason).__name__}); if the address is right, the "
            "WebUI's console says why."
        )


def _address(text: str) -> tuple[str, str]:
    """Return an address without a slash at its end, and the "user:password" that was in it."""
    if "://" not in text:
        text = f"http://{text}"
    try:
        parts = urlsplit(text.strip())
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port, parts = None, None, urlsplit("")
    if parts.scheme not in ("http", "https") or not host:
        raise Unusable(f'"{text}" is no address of a WebUI; it looks like http://127.0.0.1:7860.')
    place = f"[{host}]" if ":" in host else host
    place = f"{place}:{port}" if port else place
    auth = f"{unquote(parts.username)}:{unquote(parts.password or '')}" if parts.username else ""
    return urlunsplit((parts.scheme, place, parts.path.rstrip("/"), "", "")), auth


def _is_here(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
