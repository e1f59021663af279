"""Where weight files come from, and what of that may be shown."""

from __future__ import annotations

import base64
import os
import re
from dataclasses import dataclass, field
from urllib.parse import unquote

from lib_layerdiffusion.weight_files import WeightFile

HUB_ADDRESS = "https://huggingface.co"
LATEST = "main"


@dataclass(frozen=True)
class Source:
    """`endpoint` is a mirror's address; "" is HF_ENDPOINT, and without that the hub itself.

    Either may name a user and a password before an @. They go to the mirror and are shown nowhere.
    """

    endpoint: str = field(default="", repr=False)

    @property
    def address(self) -> str:
        """The address, fit to be shown: without a slash at its end, and without user and password."""
        scheme, separator, rest = self._given.partition("://")
        return f"{scheme}{separator}{rest.rpartition('@')[2]}" if separator else scheme.rpartition("@")[2]

    @property
    def authorization(self) -> str | None:
        """The value of the HTTP header that user and password make, None without them."""
        login, named, _ = self._given.partition("://")[2].rpartition("@")
        if not named:
            return None
        # as HTTP libraries read an address
        return f"Basic {base64.b64encode(unquote(login).encode()).decode('ascii')}"

    @property
    def gets_token(self) -> bool:
        """True for what the user's token for the hub may go to: a mirror of the settings is somebody else."""
        return not self.endpoint and self.authorization is None

    @property
    def _given(self) -> str:
        given = self.endpoint.strip() or os.environ.get("HF_ENDPOINT", "").strip() or HUB_ADDRESS
        return given.rstrip("/")


HUB = Source()


def address(file: WeightFile, source: Source = HUB) -> str:
    """Return where a browser finds the file."""
    return f"{source.address}/{file.repository.name}/resolve/{file.repository.revision}/{file.path}"


def without_login(text: str) -> str:
    """Return a text without what stands before the @ of the addresses in it."""
    return re.sub(r"(?<=://)[^\s/]*@", "", text)
