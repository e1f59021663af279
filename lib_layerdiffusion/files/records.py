"""What was found when a weight file was read whole, remembered by size and time of change."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from dataclasses import asdict, astuple, dataclass
from pathlib import Path

import torch
from torch import Tensor

from lib_layerdiffusion.files.layout import unreadable
from lib_layerdiffusion.files.progress import Watch, progress
from lib_layerdiffusion.files.tensors import TensorFile
from lib_layerdiffusion.weight_files import WeightFile

logger = logging.getLogger("layerdiffuse")

WORK_FOLDER = ".layerdiffuse"
"""Inside the folder with the weight files: records, unfinished downloads and their locks."""

BLOCK = 1 << 22


@dataclass(frozen=True)
class Record:
    """A file's size in bytes, time of change in ns, hash ("" if nothing to compare it with) and problem."""

    size: int
    changed: int
    sha256: str
    problem: str

    def is_sound(self) -> bool:
        """False where a value has a type that it never has: the file with the records may hold anything."""
        return [type(value) for value in astuple(self)] == [int, int, str, str]


class Records:
    """The records of one folder, kept in it; where it cannot be written to, for this process alone."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / WORK_FOLDER / "checked.json"
        self._own: dict[str, Record] = {}

    def get(self, path: Path) -> Record | None:
        """Return what is known of the file as it is now. Raises OSError."""
        stat = path.stat()
        record = self._own.get(path.name) or self._read().get(path.name)
        if record is not None and (record.size, record.changed) == (stat.st_size, stat.st_mtime_ns):
            return record
        return None

    def put(self, name: str, record: Record) -> None:
        self._own[name] = record
        known = {**self._read(), name: record}
        text = json.dumps({key: asdict(value) for key, value in sorted(known.items())}, indent=1)
        unfinished = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            unfinished.write_text(text, "utf-8")
            unfinished.replace(self._path)
        except OSError as error:
            logger.debug("%s is not remembered: %s", name, error)

    def _read(self) -> dict[str, Record]:
        try:
            known = {name: Record(**fields) for name, fields in json.loads(self._path.read_bytes()).items()}
        except (OSError, ValueError, TypeError, AttributeError, RecursionError):
            # absent, cut off, of another version, or nothing of ours: every file is read once more
            return {}
        return {name: record for name, record in known.items() if record.is_sound()}


def sha256(path: Path, watch: Watch, label: str) -> str:
    """Return the hash of the file's bytes as 64 hexadecimal digits. Raises Interrupted."""
    digest = hashlib.sha256()
    with path.open("rb") as file, progress(watch, label, path.stat().st_size) as shown:
        while block := file.read(BLOCK):
            digest.update(block)
            shown.advance(len(block))
    return digest.hexdigest()


def inspect(file: WeightFile, path: Path, records: Records, watch: Watch) -> Record:
    """Read the whole file, once for every content, and return what was found.

    A hash other than the published one is a line in the log and nothing more: the published ones could
    not be compared with the files. Raises WeightsError and Interrupted.
    """
    try:
        known = records.get(path)
        if known is not None:
            return known
        stat = path.stat()
        released = bool(file.sha256) and stat.st_size in file.sizes
        found = sha256(path, watch, f"checking {path.name} once") if released else ""
    except OSError as error:
        raise unreadable(path, error) from error
    if found not in ("", file.sha256):
        logger.warning(
            "%s is not the released file of that name (SHA-256 %s... instead of %s...); it is used as it "
            "is. If pictures look wrong, delete it to have it fetched again.",
            path,
            found[:12],
            file.sha256[:12],
        )
    record = Record(stat.st_size, stat.st_mtime_ns, found, _number_problem(path, watch))
    records.put(path.name, record)
    return record


def _number_problem(path: Path, watch: Watch) -> str:
    """Name the first tensor that holds NaN or infinity, "" if none does. Raises WeightsError."""
    file = TensorFile(path)
    with progress(watch, f"checking the numbers of {path.name} once", file.size) as shown:
        for name, entry in file.entries.items():
            if not _is_finite(file.tensor(name)):
                return f'"{name}" holds values that are not numbers'
            shown.advance(entry.end - entry.start)
    return ""


def _is_finite(tensor: Tensor) -> bool:
    if tensor.numel() == 0:
        return True
    # the extremes are NaN if any value is; no mask of the tensor's size, and forty times faster than one
    low, high = tensor.aminmax()
    return bool(torch.isfinite(low)) and bool(torch.isfinite(high))
