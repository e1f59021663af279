"""Activations that a transparent decode holds on its device, by size of the picture and way to do it.

    python -m benchmarks.decode_memory [--sizes 1024 2048 4096] [--dtype float16]

Counted, not measured: one forward pass runs on tensors without data, and every one of them is counted from
its making to its end. The network itself (208 MB in float16) and the fused kernels' scratch memory come on
top. "plain" is the procedure of `plain_decode`, with its stack of eight results.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from benchmarks import plain_decode, report
from lib_layerdiffusion.models import row_store
from lib_layerdiffusion.models.encoder_and_decoder import TransparencyDecoder
from lib_layerdiffusion.models.strips import StripDecoder
from lib_layerdiffusion.transparency.voting import Votes
from lib_layerdiffusion.transparency.ways import ways


class Held(TorchDispatchMode):
    """Counts the bytes of tensors that are alive, without the known ones and those made `elsewhere`."""

    def __init__(self, *known: Tensor) -> None:
        super().__init__()
        self.now = self.peak = 0
        self.elsewhere = False
        self._known = {tensor.untyped_storage()._cdata for tensor in known}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                self._see(tensor.untyped_storage())
        return result

    def _see(self, storage: torch.UntypedStorage) -> None:
        if storage._cdata in self._known:
            return
        size = 0 if self.elsewhere else storage.nbytes()
        self._known.add(storage._cdata)
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._gone, storage._cdata, size)

    def _gone(self, address: int, size: int) -> None:
        self._known.discard(address)
        self.now -= size


@contextmanager
def store_elsewhere(held: Held) -> Iterator[None]:
    """Have what is kept in rows lie elsewhere: reading it makes a copy on the device."""
    make, read, finish = row_store._Memory.__init__, row_store.Rows.read, row_store.Rows.copy

    def make_elsewhere(self: Any, *args: Any) -> None:
        held.elsewhere = True
        make(self, *args)
        held.elsewhere = False

    def keep_elsewhere(self: Any, values: Tensor) -> row_store.Rows:
        held.elsewhere = True
        moved = values.clone()
        held.elsewhere = False
        return row_store.Rows(moved)

    def result(self: Any) -> Tensor:
        held.elsewhere = True
        return finish(self)

    def copy(self: Any, top: int, bottom: int, device: torch.device) -> Tensor:
        return read(self, top, bottom, device).clone()

    with (
        patch.object(row_store._Memory, "__init__", make_elsewhere),
        patch.object(row_store.Rows, "read", copy),
    ):
        yield


def megabytes(run: Callable[[], object], held: Held) -> float:
    """Return the peak of what a block holds."""
    with torch.inference_mode(), torch.device("meta"), held:
        run()
    return held.peak / 1e6


def counted(network: TransparencyDecoder, size: int, dtype: torch.dtype) -> dict[str, float]:
    """Return MB by the name of the way, for eight passes over a square picture."""
    pixel = torch.empty(1, 3, size, size, dtype=dtype, device="meta")
    latent = torch.empty(1, 4, size // 8, size // 8, dtype=dtype, device="meta")
    result = 4 * size * size * dtype.itemsize / 1e6
    plain = partial(plain_decode.forward, network, pixel, latent)
    found = {"plain": megabytes(plain, Held(pixel, latent)) + 7 * result}
    for way in ways(torch.device("cuda"), size, size, Votes())[:-1]:
        held = Held(pixel, latent)
        decode = network if way.strip is None else StripDecoder(network, way.strip, "meta")
        if way.store is None:
            found[way.name] = megabytes(partial(decode, pixel, latent), held) + 5 * result
        else:
            with store_elsewhere(held):
                found[way.name] = megabytes(partial(decode, pixel, latent), held)
    return found


def main() -> None:
    parser = report.parser(__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1024, 2048, 4096])
    parser.add_argument("--dtype", default="float16")
    options = report.parse(parser)
    dtype = getattr(torch, options.dtype)
    with torch.device("meta"):
        network = TransparencyDecoder().eval().to(dtype)
    table = report.Report("decode_memory", "cpu", {"dtype": options.dtype})

    def fused(q: Tensor, k: Tensor, v: Tensor, scale: float | None = None) -> Tensor:
        # without data there is no fused kernel to choose; what it takes and gives is this
        return torch.empty_like(q)

    with patch.object(torch.nn.functional, "scaled_dot_product_attention", fused):
        for size in options.sizes:
            columns = counted(network, size, dtype)
            table.figure(f"{size} x {size}, MB", **{name: round(value, 1) for name, value in columns.items()})
    table.write(options.json)


if __name__ == "__main__":
    main()
