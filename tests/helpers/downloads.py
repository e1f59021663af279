"""One small weight file on a hub of this machine, and who watches it come."""

from __future__ import annotations

from pathlib import Path

import torch
from huggingface_hub import constants as constants
from safetensors.torch import save

from lib_layerdiffusion.files.progress import NobodyWatches
from lib_layerdiffusion.files.records import WORK_FOLDER
from lib_layerdiffusion.methods import SDXL
from lib_layerdiffusion.models.encoder_and_decoder import TransparencyEncoder

FILE = SDXL.encoder


def encoder_file(seed: int = 0) -> bytes:
    """A real file of the name: 4.7 MB of random numbers with the encoder's layout."""
    torch.manual_seed(seed)
    return save(TransparencyEncoder().state_dict())


CONTENT = encoder_file()


class Watcher(NobodyWatches):
    """Keeps what it is shown and presses Interrupt after `after` reports."""

    def __init__(self, after: int | None = None) -> None:
        self.after = after
        self.lines: list[tuple[str, float | None]] = []

    def report(self, text: str, fraction: float | None) -> None:
        self.lines.append((text, fraction))

    def interrupted(self) -> bool:
        return self.after is not None and len([text for text, _ in self.lines if text]) >= self.after


def kept(folder: Path) -> list[int]:
    """Sizes of the unfinished downloads."""
    return [part.stat().st_size for part in (folder / WORK_FOLDER).glob("*.part")]
