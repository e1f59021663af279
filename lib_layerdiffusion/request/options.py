"""What one sets once, on the settings page; each can be overridden for one request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from lib_layerdiffusion.errors import BadSetting

SECTION = ("layerdiffuse", "LayerDiffuse")
PREFIX = "layerdiffuse_"
FORMATS = ("PNG", "WebP (lossless)")
SUFFIXES = dict(zip(FORMATS, (".png", ".webp"), strict=True))
PASSES = (8, "adaptive", 4, 2, 1)
LAYER_FILES: dict[str, tuple[str, ...]] = {
    "PSD": ("psd",),
    "ORA": ("ora",),
    "PSD and ORA": ("psd", "ora"),
    "none": (),
}
"""Choices of the layered files beside pictures that are layers of one another, and their suffixes."""


@dataclass(frozen=True)
class Option:
    """One line of the settings page. `choices` are all values that it may have, None where any will do.

    `server` marks what names places of the server's: no request may change it.
    """

    field: str
    label: str
    default: Any
    choices: tuple[Any, ...] | None = None
    info: str = ""
    infotext: str | None = None
    server: bool = False

    @property
    def key(self) -> str:
        """What the host's settings file and API call it."""
        return f"{PREFIX}{self.field}"


OPTIONS: tuple[Option, ...] = (
    Option("preview", "Show a preview over a checkerboard beside each transparent picture", True),
    Option(
        "saved_format",
        "File format of transparent pictures",
        FORMATS[0],
        FORMATS,
        info="with PNG, a format of the WebUI's that keeps transparency too (AVIF, JPEG XL, HEIF) stays",
    ),
    Option(
        "saved_folder",
        "Folder for transparent pictures",
        "",
        info="empty: with all other pictures; a name: a folder of that name there; or a full path",
        server=True,
    ),
    Option(
        "layer_files",
        "Layered file beside pictures that are layers of one another",
        "PSD",
        tuple(LAYER_FILES),
        info="PSD for Photoshop, GIMP, Krita, Photopea; ORA (OpenRaster) for Krita, GIMP, MyPaint",
    ),
    Option(
        "keep_every",
        "Keep the transparency of every picture",
        False,
        info="also where a model of its own kind, or another script, made it; off: they are saved as always",
    ),
    Option(
        "decode_passes",
        "Passes of the transparency decode",
        8,
        PASSES,
        info="8 as released; adaptive: 2, and 8 where these differ; fewer are faster, less certain at edges",
        infotext="layerdiffusion_decode_passes",
    ),
    Option(
        "retries",
        "Try pictures again that failed",
        0,
        (0, 1, 2, 3),
        info="at most so often, each as long as the first: other injection, next seed, more Weight",
    ),
    Option(
        "low_memory",
        "Decode transparency in strips, with less GPU memory",
        False,
        info="the same picture, slower; without it this is done where memory runs out. A CPU always does",
    ),
    Option(
        "model_folder",
        "Folder of the weight files",
        "",
        info="empty: layer_model; a name: a folder of that name in the folder of all models; or a full path",
        server=True,
    ),
    Option(
        "download_source",
        "Where missing weight files are fetched from",
        "",
        info="empty: huggingface.co; or the address of a mirror, such as https://hf-mirror.com",
        server=True,
    ),
    Option(
        "keep_networks",
        "Keep the transparency networks in memory between generations",
        True,
        info="off: they are loaded again for every generation",
    ),
)


@dataclass(frozen=True)
class Options:
    """The settings in effect. `saved_folder` and `model_folder` may be relative; None is the default place.

    `saved_suffix` is that of a file name, `layer_files` are such without a dot; `decode_passes` is one of
    PASSES; `download_source` an address without a slash at its end, or "".
    """

    preview: bool = True
    saved_suffix: str = ".png"
    saved_folder: Path | None = None
    layer_files: tuple[str, ...] = ("psd",)
    keep_every: bool = False
    decode_passes: int | str = 8
    retries: int = 0
    low_memory: bool = False
    model_folder: Path | None = None
    download_source: str = ""
    keep_networks: bool = True

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Options:
        """Read them from a host's settings, by key; what is missing has its default. Raises BadSetting."""
        read = {option.field: _checked(option, values.get(option.key)) for option in OPTIONS}
        read["saved_suffix"] = SUFFIXES[read.pop("saved_format")]
        read["layer_files"] = LAYER_FILES[read["layer_files"]]
        for name in ("saved_folder", "model_folder"):
            read[name] = _folder(read[name])
        source = read["download_source"].rstrip("/")
        if source and not source.startswith(("http://", "https://")):
            raise BadSetting(
                f'The download source of LayerDiffuse is "{_shown(source)}"; it must begin with https:// or '
                "http://."
            )
        read["download_source"] = source
        assert read.keys() == {field.name for field in fields(cls)}
        return cls(**read)


def _folder(text: str) -> Path | None:
    if not text:
        return None
    if "\0" in text:
        raise BadSetting("A folder in the settings of LayerDiffuse holds a character that no path can have.")
    try:
        folder = Path(text).expanduser()
    except RuntimeError:
        raise BadSetting(
            f'The folder "{text}" in the settings of LayerDiffuse begins with the name of a user that this '
            "system does not know; give a full path."
        ) from None
    if ".." in folder.parts:
        raise BadSetting(
            f'The folder "{text}" in the settings of LayerDiffuse leads out by ".."; give a full path.'
        )
    return folder


def _shown(value: Any) -> str:
    """A value as it may be shown: an address may begin with a user and a password."""
    return str(value).rpartition("@")[2]


def _checked(option: Option, value: Any) -> Any:
    if value is None:
        return option.default
    if isinstance(option.default, bool):
        wanted, fits = "true or false", isinstance(value, bool)
    elif option.choices is not None:
        wanted = "one of " + ", ".join(map(str, option.choices))
        # a page hands numbers over as it likes; told by their text, since true and 1.0 equal 1
        chosen = [choice for choice in option.choices if str(choice) == str(value)]
        fits, value = bool(chosen), chosen[0] if chosen else value
    else:
        wanted, fits = "text", isinstance(value, str)
    if not fits:
        raise BadSetting(
            f'The setting {option.key} of LayerDiffuse is "{_shown(value)}"; it must be {wanted}.'
        )
    return value.strip() if isinstance(value, str) else value
