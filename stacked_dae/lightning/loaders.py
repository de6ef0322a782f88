"""Minibatches out of arrays, as slices: no loop over examples."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Sampler

from stacked_dae.data.disk_array import Inputs
from stacked_dae.training.loader import DeviceRows
from stacked_dae.utils.seeding import derive_seed


class EpochOrder:
    """The order of an epoch's rows; Lightning calls :meth:`set_epoch` before each epoch, as for any sampler."""

    def __init__(self, count: int, shuffle: bool, seed: int | None) -> None:
        self.count, self.shuffle, self.seed = count, shuffle, seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Take the order of ``epoch``."""
        self._epoch = epoch

    def draw(self) -> Tensor:
        """Return the row numbers of the epoch, (n,); without a seed a new order at each call."""
        if not self.shuffle:
            return torch.arange(self.count)
        generator = None
        if self.seed is not None:
            generator = torch.Generator().manual_seed(derive_seed(self.seed, "shuffle", self._epoch))
        return torch.randperm(self.count, generator=generator)


class EpochSampler(Sampler[int]):
    """Goes through the rows of a torch data set in the order of an epoch, for a DataLoader."""

    def __init__(self, count: int, seed: int) -> None:
        self._order = EpochOrder(count, True, seed)

    def set_epoch(self, epoch: int) -> None:
        """Take the order of ``epoch``; Lightning calls it."""
        self._order.set_epoch(epoch)

    def __len__(self) -> int:
        return self._order.count

    def __iter__(self) -> Iterator[int]:
        return iter(self._order.draw().tolist())


class BatchLoader:
    """Goes through arrays in minibatches, [x, y] or [x], that are already on the device.

    They are lists, as a DataLoader's are: callbacks replace what is in them.

    Args:
        inputs: (n, d), uint8 (used as 0 to 1) or float32, in memory or on disk.
        targets: (n,) or (n, outputs), or None.
        batch_size: examples per minibatch, at least 1; the last one may be smaller.
        device: where the minibatches are.
        shuffle: whether each epoch has a new order.
        seed: of the order; None to draw it from torch's global generator.
        rank, world_size: this process's number and that of all; each takes every ``world_size``-th row, and the first
            rows are used again where the number of rows is not a multiple of it, as DistributedSampler does.
    """

    def __init__(
        self,
        inputs: Inputs,
        targets: NDArray[np.generic] | None,
        batch_size: int,
        device: torch.device,
        *,
        shuffle: bool,
        seed: int | None,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.batch_size = batch_size
        self._rows = DeviceRows(inputs, device)
        self._targets = None if targets is None else torch.from_numpy(targets).to(device)
        self._device, self._rank, self._world_size = device, rank, world_size
        # Processes must agree on the order.
        self.sampler = EpochOrder(len(inputs), shuffle, 0 if seed is None and world_size > 1 else seed)
        # Lightning asks every loader that has a sampler for this too.
        self.batch_sampler = None

    def __len__(self) -> int:
        mine = -(-len(self._rows) // self._world_size)
        return -(-mine // self.batch_size)

    def __iter__(self) -> Iterator[list[Tensor]]:
        order = self.sampler.draw()
        if self._world_size > 1:
            short = -len(order) % self._world_size
            order = torch.cat([order, order[:short]])[self._rank :: self._world_size]
        order = order.to(self._device)
        for start in range(0, len(order), self.batch_size):
            rows = order[start : start + self.batch_size]
            x = self._rows.read(rows)
            yield [x] if self._targets is None else [x, self._targets[rows]]
