"""Find a weight file in models/layer_model or have it fetched, and make sure of it."""

from __future__ import annotations

from pathlib import Path
from stat import S_ISDIR, S_ISREG

from lib_layerdiffusion.errors import WeightsError, WrongWeights
from lib_layerdiffusion.files import download, layout
from lib_layerdiffusion.files.layout import REPLACE
from lib_layerdiffusion.files.progress import NobodyWatches, Watch
from lib_layerdiffusion.files.records import Records, inspect
from lib_layerdiffusion.files.source import HUB, Source
from lib_layerdiffusion.files.tensors import identity
from lib_layerdiffusion.weight_files import WeightFile


class WeightStore:
    """The folder with the weight files, where missing ones come from, and who watches while they come."""

    def __init__(self, folder: Path, source: Source = HUB, watch: Watch | None = None) -> None:
        self.folder = folder
        self.source = source
        self.watch = watch or NobodyWatches()
        self.records = Records(folder)
        self._good: dict[WeightFile, str] = {}

    def path(self, file: WeightFile) -> Path:
        """Return where the file belongs, present or not. It is always directly inside the folder."""
        return self.folder / file.filename

    def ensure(self, file: WeightFile) -> Path:
        """Return the path of a file that holds what its name says, fetching it first if it is not there.

        What is there is never overwritten or deleted. Raises WeightsError and Interrupted.
        """
        path = self.path(file)
        if not self.has(file):
            download.fetch(file, path, self.source, self.watch)
        self.verify(file)
        return path

    def has(self, file: WeightFile) -> bool:
        """True when something with content lies in the file's place. Raises WeightsError if nothing can."""
        path = self.path(file)
        try:
            stat = path.stat()
        except (FileNotFoundError, NotADirectoryError):
            if not path.is_symlink():
                return False
            raise WeightsError(
                f"{path} is a link to {path.readlink()}, which is not there. Bring that file back, or delete "
                "the link to have the file fetched again."
            ) from None
        except OSError as error:
            raise layout.unreadable(path, error) from error
        if S_ISDIR(stat.st_mode):
            raise WeightsError(f"{path} is a folder; remove it, or put the file of that name there instead.")
        return S_ISREG(stat.st_mode) and stat.st_size > 0

    def verify(self, file: WeightFile) -> None:
        """Make sure of a file that is there, reading it whole only if it is new or changed.

        Raises WeightsError and Interrupted.
        """
        path = self.path(file)
        name = identity(path)
        if self._good.get(file) == name:
            return
        layout.check(file, path)
        problem = inspect(file, path, self.records, self.watch).problem
        if problem:
            raise WrongWeights(f"{path.name} in {path.parent} is damaged: {problem}. {REPLACE}")
        self._good[file] = name
