"""Chunks of minibatches out of arrays, without a per-item loop.

What Lightning takes for a batch is a *chunk*: many minibatches that are cut, inside the training step, from rows that
are already on the device. So Lightning's own loop is paid once a chunk.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stacked_dae.data.disk_array import DiskArray, Inputs

# Floats in a chunk: 4 MB, some tens of the paper's minibatches, a part of the last-level cache.
_CHUNK_FLOATS = 2**20


class DeviceRows:
    """The rows of an (n, d) array, read as float32 on ``device``; uint8 stays uint8 until then, and is used as 0 to 1.

    An array in memory is put on the device once; of one on disk, rows are read as they are asked for.
    """

    def __init__(self, array: Inputs, device: torch.device) -> None:
        self.device = device
        self._array: Any = array if isinstance(array, DiskArray) else torch.from_numpy(array).to(device)

    def __len__(self) -> int:
        return len(self._array)

    def read(self, rows: slice | Tensor) -> Tensor:
        """Return the rows, (B, d) float32: a slice, or an int64 tensor of row numbers on the device."""
        if isinstance(self._array, DiskArray):
            block = torch.from_numpy(self._array[rows if isinstance(rows, slice) else rows.cpu().numpy()])
            return as_inputs(block.to(self.device))
        return as_inputs(self._array[rows])


def as_inputs(block: Tensor) -> Tensor:
    """Return rows as they enter a layer: float32, bytes as 0 to 1."""
    return block.to(torch.float32).div_(255.0) if block.dtype == torch.uint8 else block


class _WindowPrefetcher:
    """Rows of an array on disk, in the order of ``order``: a window is in use while the next is read.

    The rows of a window are read in the order of the file, so that the disk sees a sweep, not a search for each; and
    the order is any permutation.

    Args:
        array: the array.
        order: row numbers, (n,); None for the array's own order.
        window: rows held at a time; positions are asked for in ascending order, none beyond the end of its window.
    """

    def __init__(self, array: DiskArray, order: NDArray[np.int64] | None, window: int) -> None:
        self._array, self._order, self._window = array, order, window
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="read")
        self._coming: tuple[int, Future[NDArray[Any]]] | None = None
        self._first, self._block = -1, np.empty(0)

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """Return the rows at positions ``start`` to ``stop``."""
        first = start - start % self._window
        if first != self._first:
            if self._coming is None or self._coming[0] != first:
                self._coming = self._fetch(first)
            self._block = np.empty(0)
            self._first, self._block = first, self._coming[1].result()
            after = first + self._window
            self._coming = self._fetch(after) if after < self._end else None
        return self._block[start - first : stop - first]

    @property
    def _end(self) -> int:
        return len(self._array) if self._order is None else len(self._order)

    def _fetch(self, first: int) -> tuple[int, Future[NDArray[Any]]]:
        positions = slice(first, min(first + self._window, self._end))
        rows = positions if self._order is None else self._order[positions]
        return first, self._reader.submit(self._array.__getitem__, rows)

    def close(self) -> None:
        """Let go of what is held."""
        self._reader.shutdown(cancel_futures=True)


class Chunk:
    """Positions ``start`` to ``stop`` of an epoch's order; its rows are read when the step asks for them.

    No dataclass, since Lightning would copy one field by field.
    """

    def __init__(self, loader: ChunkLoader, start: int, stop: int) -> None:
        self._loader, self._start, self._stop = loader, start, stop

    def read(self) -> tuple[Tensor, Tensor | None]:
        """Return the inputs (B, d) and the labels (B,) or None."""
        return self._loader.read(self._start, self._stop)


class ChunkLoader:
    """Goes through the rows of ``inputs`` in chunks of whole minibatches.

    Args:
        inputs: (n, d), uint8 or float32, in memory or on disk.
        labels: (n,) int64, or None.
        batch_size: examples in a minibatch; the last one of an epoch may be smaller.
        device: where the rows are put.
        indices: numbers of the rows to go through; None for all.
        budget_bytes: inputs on disk of at most so many are taken into memory; others are read in two windows that
            together have this size.

    The order is that of the array until :meth:`shuffle`; ``count`` is the number of rows.
    """

    def __init__(
        self,
        inputs: Inputs,
        labels: NDArray[np.int64] | None,
        batch_size: int,
        device: torch.device,
        indices: NDArray[np.int64] | None = None,
        budget_bytes: int = 0,
    ) -> None:
        self.batch_size = batch_size
        self._device = device
        if isinstance(inputs, DiskArray) and inputs.nbytes <= budget_bytes:
            inputs = inputs[:]
        self._on_disk = inputs if isinstance(inputs, DiskArray) else None
        self._rows = DeviceRows(inputs, device)
        self._labels = None if labels is None else torch.from_numpy(labels).to(device)
        self._indices = None if indices is None else torch.from_numpy(indices)
        self.count = len(inputs) if indices is None else len(indices)
        self._chunk: int = max(1, _CHUNK_FLOATS // (inputs.shape[1] * batch_size)) * batch_size
        half = budget_bytes // 2 // (inputs.nbytes // len(inputs))
        self._window = max(1, half // self._chunk) * self._chunk
        self._ahead: _WindowPrefetcher | None = None
        self._take_order(self._indices)

    def shuffle(self, seed: int) -> None:
        """Take a new order, a permutation of all rows drawn with ``seed``."""
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(self.count, generator=generator)
        self._take_order(order if self._indices is None else self._indices[order])

    def _take_order(self, order: Tensor | None) -> None:
        self._order = None if order is None else order.to(self._device)
        self._let_go()

    def _let_go(self) -> None:
        if self._ahead is not None:
            self._ahead.close()
            self._ahead = None

    def __len__(self) -> int:
        return -(-self.count // self._chunk)

    def __iter__(self) -> Iterator[Chunk]:
        for start in range(0, self.count, self._chunk):
            yield Chunk(self, start, min(start + self._chunk, self.count))

    def read(self, start: int, stop: int) -> tuple[Tensor, Tensor | None]:
        """Return the inputs and labels at positions ``start`` to ``stop`` of the order."""
        rows = slice(start, stop) if self._order is None else self._order[start:stop]
        labels = None if self._labels is None else self._labels[rows]
        if self._on_disk is None:
            return self._rows.read(rows), labels
        if self._ahead is None:
            order = None if self._order is None else self._order.cpu().numpy()
            # In the order of the file a small window will do.
            self._ahead = _WindowPrefetcher(self._on_disk, order, self._chunk if order is None else self._window)
        block = torch.from_numpy(self._ahead.read(start, stop)).to(self._device)
        if stop == self.count:
            # An epoch's windows are of no use to the next; the memory is, to whoever reads in between.
            self._let_go()
        return as_inputs(block), labels
