"""Another try at a picture that failed: a job of its own over a copy of the first, with one thing changed."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from PIL import Image

from lib_layerdiffusion.errors import LayerDiffuseError, for_user
from lib_layerdiffusion.hosts.base import Host, Job
from lib_layerdiffusion.job.further_jobs import FurtherJobs
from lib_layerdiffusion.methods import alternatives
from lib_layerdiffusion.networks import Networks
from lib_layerdiffusion.pictures.verdict import FAILED, WORDS
from lib_layerdiffusion.request import infotext, xyz_axes
from lib_layerdiffusion.request.settings import RANGES, UNFINISHED, Settings

logger = logging.getLogger("layerdiffuse")

TRIES_KEY = f"{infotext.PREFIX}tries"
"""Of the infotext: what was tried, and what came of it."""
_IS_TRY = "layerdiffuse_try"


@dataclass(frozen=True)
class Remedy:
    """What another try changes: to the other injection; the seed by so much; the Weight by HEAVIER."""

    other: bool = False
    seed: int = 0
    heavier: bool = False


HEAVIER = 1.2
REMEDIES = (
    Remedy(other=True),
    Remedy(seed=1),
    Remedy(other=True, seed=1),
    Remedy(heavier=True),
    Remedy(seed=2),
)
"""In the order in which they are tried, which is measured (docs/verdict.md), as far as a method has them."""


@dataclass(frozen=True)
class Tried:
    """What came of a try. `changes` are its values for the panel by name, `told` is what the API is told."""

    picture: Image.Image
    seed: int
    changes: Mapping[str, Any]
    told: Mapping[str, Any]

    @property
    def word(self) -> str:
        return str(self.told["verdict"])


class Retries:
    """Those of one job, by `jobs` of it. To be made before anything has changed `p`."""

    def __init__(
        self, host: Host, networks: Networks, p: Job, settings: Settings, most: int, jobs: FurtherJobs
    ) -> None:
        self.host = host
        self.networks = networks
        self.settings = settings
        self.is_try = _is_try(p)
        # layers of a scene belong together
        self.most = most if settings.method.makes_one_alone and not self.is_try else 0
        self._jobs = jobs
        if self.most:
            logger.info("A picture that fails is made again, up to %d times.", self.most)

    def again(self, p: Job, position: int, index: int, name: str) -> tuple[Tried | None, list[str]]:
        """Try until one is not failed; return the best that is better than failed, and all that was tried.

        `position` is that of the picture in its batch, `index` in its job. Raises nothing: what was
        there before stays.
        """
        best: Tried | None = None
        texts = [f"seed {p.seeds[position]} {FAILED}"]
        for number, (remedy, changes) in enumerate(self._remedies()[: self.most], 1):
            if self.host.broken_off():
                break
            self.host.report(f"{name}: trying again, {number} of {self.most}", None)
            try:
                tried = self._try(p, position, index, remedy.seed, changes)
            except Exception as error:
                texts.append(_said(for_user(error, "trying again")))
                break
            finally:
                self.host.report("", None)
            if tried is None or self.host.broken_off():
                break
            texts.append(_described(tried))
            if WORDS.index(tried.word) < WORDS.index(best.word if best else FAILED):
                best = tried
            if tried.word != FAILED:
                break
        return best, texts

    def _remedies(self) -> list[tuple[Remedy, dict[str, Any]]]:
        """Those that there are for the job's method, with their values for the panel."""
        method, weight = self.settings.method, self.settings.weight
        others = [one for one in alternatives(method) if self.networks.store.has(one.weights)]
        heavier = min(RANGES["weight"][1], round(weight * HEAVIER, 2))
        found: list[tuple[Remedy, dict[str, Any]]] = []
        for remedy in REMEDIES:
            changes: dict[str, Any] = {}
            if remedy.other:
                # another large file is not fetched for a try
                if not others:
                    continue
                changes["method"] = others[0].label
            if remedy.heavier:
                changes["weight"] = heavier
            found.append((remedy, changes))
        return found

    def _try(self, p: Job, position: int, index: int, seed: int, changes: Mapping[str, Any]) -> Tried | None:
        job = self._jobs.job(p, position, index, seed)
        pictures = getattr(job, "init_images", None)
        if pictures and len(pictures) > 1:
            job.init_images = [pictures[position % len(pictures)]]
        xyz_axes.put(job, p, {**changes, **UNFINISHED})
        setattr(job, _IS_TRY, weakref.ref(job))
        made = self._jobs.run(job)
        return None if made is None else Tried(made[0], job.seed, changes, made[1])


def _described(tried: Tried) -> str:
    changes = ", ".join(f"{name} {value}" for name, value in tried.changes.items())
    return " ".join(part for part in (f"seed {tried.seed}", changes, tried.word) if part)


def _is_try(p: Job) -> bool:
    owner = getattr(p, _IS_TRY, None)
    return owner is not None and owner() is p


def _said(error: LayerDiffuseError) -> str:
    logger.warning("Trying a picture again failed: %s", error)
    return "error"
