"""Other extensions' scripts, which share a job with ours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class OtherScript:
    """A script that does nothing at any hook."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *args, **kwargs: None


class ModelTaker(OtherScript):
    """Starts from the model as loaded, and so drops whatever was prepared before."""

    def process_before_every_sampling(self, p: Any, *args: Any, **kwargs: Any) -> None:
        p.webui.patcher = p.webui.original.clone()


class StepTaker(OtherScript):
    """Does so before the steps at which `takes`: too late to be patched again, where it comes after ours."""

    def takes(self, p: Any) -> bool:
        return True

    def on_cfg_denoiser(self, params: Any) -> None:
        p = params.denoiser.p
        if self.takes(p):
            p.webui.patcher = p.webui.original.clone()
