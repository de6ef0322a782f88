"""Chunks of minibatches out of arrays, without a per-item loop.

What Lightning takes for a batch is a *chunk*: many minibatches that are cut, inside the training step, from rows that
are already on the device. So Lightning's own loop is paid once a chunk.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# Floats in a chunk: 4 MB, some tens of the paper's minibatches, a part of the last-level cache.
_CHUNK_FLOATS = 2**20


class Rows:
    """The rows of an (n, d) array, read as float32 on ``device``; uint8 stays uint8 until then, and is used as 0 to 1.

    An array in memory is put on the device once; a memory-mapped one is read as its rows are asked for.
    """

    def __init__(self, array: NDArray[Any], device: torch.device) -> None:
        self.device = device
        self._mapped = isinstance(array, np.memmap)
        self._array: Any = array if self._mapped else torch.from_numpy(array).to(device)

    def __len__(self) -> int:
        return len(self._array)

    def read(self, rows: slice | Tensor) -> Tensor:
        """Return the rows, (B, d) float32: a slice, or an int64 tensor of row numbers on the device."""
        if self._mapped:
            index = rows if isinstance(rows, slice) else rows.cpu().numpy()
            block = torch.from_numpy(np.array(self._array[index])).to(self.device)
        else:
            block = self._array[rows]
        return block.to(torch.float32).div_(255.0) if block.dtype == torch.uint8 else block


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
        inputs: (n, d), uint8 or float32, in memory or memory-mapped.
        labels: (n,) int64, or None.
        batch_size: examples in a minibatch; the last one of an epoch may be smaller.
        device: where the rows are put.

    The order is that of the array until :meth:`shuffle`.
    """

    def __init__(
        self, inputs: NDArray[Any], labels: NDArray[np.int64] | None, batch_size: int, device: torch.device
    ) -> None:
        self.batch_size = batch_size
        self._device = device
        self._rows = Rows(inputs, device)
        self._labels = None if labels is None else torch.from_numpy(labels).to(device)
        self._order: Tensor | None = None
        self._chunk: int = max(1, _CHUNK_FLOATS // (inputs.shape[1] * batch_size)) * batch_size

    def shuffle(self, seed: int) -> None:
        """Take a new order, a permutation of all rows drawn with ``seed``."""
        generator = torch.Generator().manual_seed(seed)
        self._order = torch.randperm(len(self._rows), generator=generator).to(self._device)

    def __len__(self) -> int:
        return -(-len(self._rows) // self._chunk)

    def __iter__(self) -> Iterator[Chunk]:
        for start in range(0, len(self._rows), self._chunk):
            yield Chunk(self, start, min(start + self._chunk, len(self._rows)))

    def read(self, start: int, stop: int) -> tuple[Tensor, Tensor | None]:
        """Return the inputs and labels at positions ``start`` to ``stop`` of the order."""
        rows = slice(start, stop) if self._order is None else self._order[start:stop]
        return self._rows.read(rows), None if self._labels is None else self._labels[rows]
