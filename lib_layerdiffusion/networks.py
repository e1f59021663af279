"""The networks in use: read from their files once, kept by the host, read again when a file is replaced."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from lib_layerdiffusion.files import layer_patch, lora, tensors
from lib_layerdiffusion.files.layer_patch import Patch, Shape
from lib_layerdiffusion.files.source import Source
from lib_layerdiffusion.files.store import WeightStore
from lib_layerdiffusion.files.tensors import TensorFile
from lib_layerdiffusion.hosts.base import Host
from lib_layerdiffusion.methods import FOLDER, Method
from lib_layerdiffusion.models.attention_sharing import AttentionSharing
from lib_layerdiffusion.request.options import Options
from lib_layerdiffusion.weight_files import WeightFile

Resident = Callable[[int], AbstractContextManager[Any]]

Net = TypeVar("Net", bound=nn.Module)

Build = Callable[[Mapping[str, Tensor]], Net]


@dataclass(frozen=True)
class LayerFile:
    """What a method merges into the model. An SDXL layer file's patches are stand-ins: hosts read the file
    when they merge them.

    `identity` names what a host merges. After a merge call `check`: it raises WeightsError if the file could
    not be read, and the host has merged zeros then. `left_out` are parts of it that cannot be used.
    """

    identity: str
    filename: str
    shapes: Mapping[str, Shape]
    patches: Mapping[str, Patch]
    check: Callable[[], None]
    left_out: tuple[str, ...] = ()


class Networks:
    """Every transparency encoder and decoder asked for, the last sharing network and the last layer file.

    `store` has the weight files of the model folder that `use` was told. Each network belongs to one file.
    Families have files of their own, so one family's network never serves another.
    """

    def __init__(self, host: Host) -> None:
        self._host = host
        self.store = WeightStore(host.models_dir() / FOLDER, watch=host)
        self._kept: dict[WeightFile, tuple[str, nn.Module, Resident]] = {}
        self._full_precision: set[WeightFile] = set()
        self._sharing: tuple[tuple[str, torch.dtype], AttentionSharing] | None = None
        self._layer_file: tuple[TensorFile, LayerFile] | None = None
        self._lora: tuple[tuple[str, Mapping[str, Shape | None]], LayerFile] | None = None
        self._failed = 0

    def use(self, options: Options) -> None:
        """Take the weight files from where the options say; a job calls it first."""
        folder = self._host.models_dir() / (options.model_folder or FOLDER)
        source = Source(options.download_source)
        if (folder, source) != (self.store.folder, self.store.source):
            self.store = WeightStore(folder, source, self._host)

    def resident(self, file: WeightFile, build: Build[Net]) -> Resident:
        """Return the host's handle of the network, loading the file if needed. Raises WeightsError."""
        path = self.store.ensure(file)
        identity = tensors.identity(path)
        kept = self._kept.get(file)
        if kept is None or kept[0] != identity:
            self._drop(file)
            # what is made in inference mode could not be moved to another device outside of it
            with torch.inference_mode(False):
                network = tensors.network(path, build).eval().requires_grad_(False)
                handle = self._host.adopt(network, file in self._full_precision)
            kept = identity, network, handle
            self._kept[file] = kept
        return kept[2]

    def widen(self, file: WeightFile) -> bool:
        """Have the network compute in float32 from now on; False where it already does."""
        kept = self._kept.get(file)
        if file in self._full_precision or (
            kept is not None and next(kept[1].parameters()).dtype is torch.float32
        ):
            return False
        self._full_precision.add(file)
        self._drop(file)
        return True

    def on_cpu(self, file: WeightFile, build: Build[Net]) -> Net:
        """Return the network on the CPU in float32, unknown to the host. Raises WeightsError."""
        network = tensors.network(self.store.ensure(file), build)
        return network.eval().requires_grad_(False).float()

    def sharing(self, method: Method, dtype: torch.dtype) -> AttentionSharing:
        """Return the method's attention sharing network in a dtype; the last one stays in memory.

        Raises WeightsError.
        """
        path = self.store.ensure(method.weights)
        key = tensors.identity(path), dtype
        if self._sharing is None or self._sharing[0] != key:
            self._drop_sharing()
            network = tensors.network(
                path,
                lambda state: AttentionSharing.from_state_dict(state, method.frames, bool(method.pictures)),
            )
            self._sharing = key, network.eval().requires_grad_(False).to(dtype)
        return self._sharing[1]

    def layer_file(self, method: Method) -> LayerFile:
        """Return the method's weight patches; the same object until the file changes, fails, or is another.

        Raises WeightsError.
        """
        path = self.store.ensure(method.weights)
        kept = self._layer_file
        if kept is None or kept[0].failed or kept[0].identity != tensors.identity(path):
            self._drop_layer_file()
            file = TensorFile(path)
            shapes = {name: entry.shape for name, entry in file.entries.items()}
            patches = layer_patch.parse(file.stored())
            # what a host has merged of a file that failed is not what it would merge of the same file now
            identity = f"{file.identity}:{self._failed}"
            kept = self._layer_file = file, LayerFile(identity, path.name, shapes, patches, file.check)
        return kept[1]

    def lora_file(self, method: Method, model: Mapping[str, Shape | None], base: str) -> LayerFile:
        """Return the method's LoRA for a model of these parameters, which messages call `base`.

        The same object until file or parameters change. Raises WeightsError.
        """
        path = self.store.ensure(method.weights)
        key = tensors.identity(path), model
        if self._lora is None or self._lora[0] != key:
            self._lora = None
            file = TensorFile(path)
            shapes = {name: entry.shape for name, entry in file.entries.items()}
            parts = lora.fit(shapes, model, path.name, base)
            patches = lora.patches(file.tensors(), parts)
            missing = tuple(lora.left_out(shapes))
            self._lora = key, LayerFile(file.identity, path.name, shapes, patches, file.check, missing)
        return self._lora[1]

    def clear(self) -> None:
        """Free all of them."""
        self._drop_layer_file()
        self._lora = None
        for file in list(self._kept):
            self._drop(file)
        self._drop_sharing()

    def _drop_layer_file(self) -> None:
        if self._layer_file is not None:
            self._failed += self._layer_file[0].failed
            self._layer_file = None

    def _drop_sharing(self) -> None:
        if self._sharing is not None:
            self._host.release(self._sharing[1])
            self._sharing = None

    def _drop(self, file: WeightFile) -> None:
        kept = self._kept.pop(file, None)
        if kept is not None:
            self._host.release(kept[1])
