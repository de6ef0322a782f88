"""The codes of one layer: made once, from clean inputs, in eval mode, and kept in memory or in a mapped file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stacked_dae.loader import Rows

# Rows encoded at a time: large enough for full speed, small enough (16 MB for 1000 units) to stay in cache's reach.
_BATCH = 4096


def make_codes(
    encode: Callable[[Tensor], Tensor],
    inputs: NDArray[Any],
    units: int,
    device: torch.device,
    *,
    file: Path,
    budget_bytes: int,
    advance: Callable[[int], None] = lambda rows: None,
) -> NDArray[np.float32]:
    """Return the codes of all rows of ``inputs``, in their order: (n, d) → (n, ``units``) float32.

    Codes that need more than ``budget_bytes`` are written to ``file`` (.npy) and mapped from there; others stay in
    memory. ``advance`` is told the number of rows after each batch.
    """
    shape = (len(inputs), units)
    if 4 * shape[0] * shape[1] > budget_bytes:
        file.parent.mkdir(parents=True, exist_ok=True)
        codes: NDArray[np.float32] = np.lib.format.open_memmap(file, mode="w+", dtype=np.float32, shape=shape)
    else:
        codes = np.empty(shape, dtype=np.float32)
    rows = Rows(inputs, device)
    with torch.no_grad():
        for start in range(0, len(inputs), _BATCH):
            block = encode(rows.read(slice(start, start + _BATCH)))
            codes[start : start + len(block)] = block.cpu().numpy()
            advance(len(block))
    return codes
