"""Fetching a weight file from the hub: resumed where it broke off, verified, moved into place in one step."""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lib_layerdiffusion.errors import DownloadFailed, Interrupted, WrongWeights
from lib_layerdiffusion.files import hub, layout
from lib_layerdiffusion.files.hub import Announced
from lib_layerdiffusion.files.progress import Watch, check, progress
from lib_layerdiffusion.files.records import WORK_FOLDER, sha256
from lib_layerdiffusion.files.source import LATEST, Source, address, without_login
from lib_layerdiffusion.weight_files import WeightFile

logger = logging.getLogger("layerdiffuse")

WAITS = (1.0, 3.0, 8.0)
"""Seconds before each further try while no byte arrives; a byte that arrives starts them anew."""

TIMEOUT = 20.0
"""Seconds without an answer."""

PIECE = 1 << 16
MARGIN = 32 << 20
"""Bytes to leave free on the disk."""


def fetch(file: WeightFile, path: Path, source: Source, watch: Watch) -> None:
    """Have the released `file` at `path`. Raises DownloadFailed and Interrupted; both keep what has come.

    Of several programs that ask at once, one downloads and the others wait for it.
    """
    work = path.parent / WORK_FOLDER
    try:
        work.mkdir(parents=True, exist_ok=True)
        with _locked(work / f"{path.name}.lock", path.name, watch):
            if not path.is_file() or path.stat().st_size == 0:
                _Download(file, path, source, watch).run()
    except (DownloadFailed, Interrupted):
        raise
    except PermissionError as error:
        raise DownloadFailed(
            f"{path.name} is not in {path.parent}, and the user that the WebUI runs as may not write there "
            f"({error.filename}). Give that user the right to write there, or put "
            f"{address(file, source)} into that folder yourself."
        ) from error
    except Exception as error:
        raise _failed(file, path, source, _cause(error)) from error
    finally:
        # what was said of waiting
        watch.report("", None)


def _cause(error: Exception) -> str:
    return without_login(f"{type(error).__name__}: {error}".strip().splitlines()[0])


def _failed(file: WeightFile, path: Path, source: Source, why: str) -> DownloadFailed:
    return DownloadFailed(
        f"{path.name} ({file.size / 1e6:.0f} MB) is not in {path.parent} and could not be downloaded: {why}. "
        f"Try again to go on with it, or put {address(file, source)} into that folder yourself."
    )


@contextmanager
def _locked(path: Path, name: str, watch: Watch) -> Iterator[None]:
    from filelock import FileLock, Timeout  # huggingface_hub brings it

    lock = FileLock(str(path))
    while True:
        try:
            lock.acquire(timeout=0.3)
            break
        except Timeout:
            watch.report(f"another program downloads {name}; waiting for it", None)
            check(watch, f"waiting for {name}")
        except (OSError, NotImplementedError) as error:
            # some network drives know no locks; two downloads at once then cost time, not the file
            logger.debug("no lock for %s: %s", name, error)
            break
    try:
        yield
    finally:
        lock.release()


class _Download:
    def __init__(self, file: WeightFile, path: Path, source: Source, watch: Watch) -> None:
        self.file = file
        self.path = path
        self.source = source
        self.watch = watch
        self.revision = file.repository.revision

    def run(self) -> None:
        from huggingface_hub import constants

        if constants.HF_HUB_OFFLINE:
            raise self.failed("offline mode is on (HF_HUB_OFFLINE)")
        if not self.source.address.startswith(("https://", "http://")):
            raise self.failed(
                f'the address "{self.source.address}" (HF_ENDPOINT, or the one of a mirror) must begin with '
                "https:// or http://"
            )
        licence = self.file.repository.licence
        terms = f", which comes under {licence}," if licence else ""
        logger.info("downloading %s%s to %s", self.file.filename, terms, self.path.parent)
        problem = self.attempt()
        if problem:
            logger.warning("%s: %s; downloading it again", self.path.name, problem)
            problem = self.attempt()
        if problem:
            raise self.failed(problem)
        logger.info("%s is complete", self.path)

    def attempt(self) -> str:
        """Get the file to its place, or say why what came is not the file and was thrown away."""
        announced = self.insist(self.announced)
        part = self.part(announced)
        problem = self.insist(lambda: self.receive(announced, part), lambda: _size(part))
        problem = problem or self.problem(announced, part)
        if problem:
            part.unlink()
        else:
            part.replace(self.path)
        return problem

    def failed(self, why: str) -> DownloadFailed:
        return _failed(self.file, self.path, self.source, why)

    def insist(self, action: Callable[[], Any], arrived: Callable[[], int] = lambda: 0) -> Any:
        """Do it again after what may pass by itself: no line, a broken line, a busy hub."""
        waits = iter(WAITS)
        before = arrived()
        while True:
            try:
                return action()
            except (DownloadFailed, Interrupted, WrongWeights, PermissionError):
                raise
            except Exception as error:
                if _is_disk_full(error):
                    raise self.failed(f"the disk is full after {arrived() / 1e6:.0f} MB") from error
                status = getattr(getattr(error, "response", None), "status_code", None)
                if status is not None and status not in (408, 429) and status < 500:
                    raise self.failed(_refusal(status, error)) from error
                if arrived() > before:
                    before, waits = arrived(), iter(WAITS)
                wait = next(waits, None)
                if wait is None:
                    raise self.failed(_cause(error)) from error
                logger.warning("%s: %s; trying again", self.path.name, _cause(error))
                self.sleep(wait)

    def sleep(self, seconds: float) -> None:
        self.watch.report(f"no connection for {self.path.name}; trying again", None)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            check(self.watch, f"waiting for {self.path.name}")
            time.sleep(0.05)

    def announced(self) -> Announced:
        from huggingface_hub.utils import RevisionNotFoundError

        try:
            return hub.ask(self.file, self.revision, self.source, TIMEOUT)
        except RevisionNotFoundError:
            if self.revision == LATEST:
                raise
            logger.warning(
                "%s has no revision %s; taking its latest", self.file.repository.name, self.revision[:7]
            )
            self.revision = LATEST
            return self.announced()

    def part(self, announced: Announced) -> Path:
        """Where the bytes of just this content are collected; parts of other contents are removed."""
        mark = hashlib.sha256(announced.etag.encode()).hexdigest()[:16]
        part = self.path.parent / WORK_FOLDER / f"{self.path.name}.{mark}.part"
        for other in part.parent.glob(f"{self.path.name}.*.part"):
            if other != part:
                other.unlink()
        return part

    def receive(self, announced: Announced, part: Path) -> str:
        """Get the bytes that are missing; "", or why what comes cannot be the file.

        Raises OSError if they stop short, or what the HTTP library has.
        """
        start = _size(part)
        if not announced.size or not announced.etag or start > announced.size:
            part.unlink(missing_ok=True)
            start = 0
        elif start == announced.size:
            return ""
        # where no size is announced: no number format is wider than four times the released one
        most = announced.size or 4 * self.file.size
        self.require_room(announced.size - start)
        label = f"downloading {self.path.name}"
        answer = hub.answer(announced.url, start, self.source, TIMEOUT, PIECE)
        with answer as (first, pieces), part.open("ab") as file:
            if first > start:
                raise OSError(f"byte {first} came where byte {start} was asked for")
            # a hub may send all of it, whatever was asked for
            file.truncate(first)
            arrived = first
            with progress(self.watch, label, announced.size, first) as shown:
                try:
                    for piece in pieces:
                        if arrived + len(piece) > most:
                            return f"more than the {most} bytes of the file came"
                        file.write(piece)
                        arrived += len(piece)
                        shown.advance(len(piece))
                except Interrupted:
                    raise self.interrupted(announced, arrived) from None
            file.flush()
            os.fsync(file.fileno())
        if announced.size and _size(part) < announced.size:
            raise OSError(f"the line broke after {_size(part) / 1e6:.0f} MB")
        return ""

    def interrupted(self, announced: Announced, arrived: int) -> Interrupted:
        if not announced.size or not announced.etag:
            after = "the next generation begins anew, since the mirror does not say what it sends"
        else:
            after = (
                f"{arrived / 1e6:.0f} of {announced.size / 1e6:.0f} MB are kept, and the next generation "
                "goes on from there"
            )
        return Interrupted(f"The download of {self.path.name} was interrupted; {after}.")

    def require_room(self, needed: int) -> None:
        free = shutil.disk_usage(self.path.parent).free
        if free < needed + MARGIN:
            raise self.failed(
                f"it needs {(needed + MARGIN) / 1e6:.0f} MB more and the disk has {free / 1e6:.0f} MB free; "
                "make room"
            )

    def problem(self, announced: Announced, part: Path) -> str:
        """Say why these bytes are not the file, "" if they are."""
        size = _size(part)
        if announced.size and size != announced.size:
            return f"{size} bytes came instead of {announced.size}"
        if announced.sha256:
            found = sha256(part, self.watch, f"checking {self.path.name}")
            if found != announced.sha256:
                return f"what came is not what the hub has (SHA-256 {found[:12]}...)"
        try:
            layout.check(self.file, part)
        except WrongWeights as error:
            return f"what came is no such file ({error.__cause__ or error})"
        return ""


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _is_disk_full(error: Exception) -> bool:
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", -1))


def _refusal(status: int, error: Exception) -> str:
    if status in (401, 403):
        return f"the hub refuses access (status {status}); log in, or check the token"
    if status == 404:
        return "the hub does not have it (status 404)"
    return f"the hub answers with status {status} ({_cause(error)})"
