"""The codes of one layer: made once, from clean inputs, in eval mode; dead units and saturated codes are counted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from stacked_dae.data.disk_array import DiskArray, Inputs
from stacked_dae.training.loader import DeviceRows
from stacked_dae.utils import distributed

# Rows encoded at a time: large enough for full speed, small enough (16 MB for 1000 units) to stay in cache's reach.
_BATCH = 4096

# Ends of the activations that have two, and how near an end a code counts as at it: a hundredth of the way.
_ENDS = {"sigmoid": (0.0, 1.0), "tanh": (-1.0, 1.0)}
_NEAR = 0.01


def encode_inputs(
    encode: Callable[[Tensor], Tensor],
    inputs: Inputs,
    units: int,
    device: torch.device,
    *,
    file: Path,
    budget_bytes: int,
    advance: Callable[[int], None] = lambda rows: None,
) -> Inputs:
    """Return the codes of all rows of ``inputs``, in their order: (n, d) → (n, ``units``) float32.

    Codes that need more than ``budget_bytes`` are written to ``file`` (.npy) and stay there; others are in memory.
    ``advance`` is called with the number of rows after each batch.

    Raises:
        OSError: the disk has no room for them.
    """
    shape = (len(inputs), units)
    large = 4 * shape[0] * shape[1] > budget_bytes
    # Of several processes one writes, and each encodes its share.
    on_disk = DiskArray.create(file, shape) if large and distributed.is_rank_zero() else None
    in_memory = np.empty((0, units) if large else shape, dtype=np.float32)
    rows = DeviceRows(inputs, device)
    batch = _BATCH * distributed.world_size()
    with torch.no_grad():
        for start in range(0, len(inputs), batch):
            size = min(batch, len(inputs) - start)
            mine = distributed.shard(size)
            block = (
                distributed.all_gather_rows(encode(rows.read(slice(start + mine.start, start + mine.stop))), size)
                .cpu()
                .numpy()
            )
            if not large:
                in_memory[start : start + size] = block
            elif on_disk is not None:
                on_disk.write(start, block)
            advance(size)
    if not large:
        return in_memory
    distributed.barrier()
    return on_disk or DiskArray.open(file)


def dead_units(codes: Tensor, activation: str) -> int:
    """Return how many units have the same code for every row, to a hundredth of the way from end to end.

    Args:
        codes: (B, h).
        activation: that of the layer; of relu and identity, which have no two ends, codes must be equal.
    """
    low, high = _ENDS.get(activation, (0.0, 0.0))
    spread = codes.amax(0) - codes.amin(0)
    return int((spread <= _NEAR * (high - low)).sum())


def saturated_percent(codes: Tensor, activation: str) -> float:
    """Return the share of codes, (B, h), at an end of the activation, in percent; 0 for relu and identity."""
    if activation not in _ENDS:
        return 0.0
    low, high = _ENDS[activation]
    near = _NEAR * (high - low)
    return 100.0 * float(((codes < low + near) | (codes > high - near)).double().mean())
