"""Inputs rebuilt by a stack of denoising autoencoders: encoded upwards, decoded downwards."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from stacked_dae.nn.autoencoder import DenoisingAutoencoder

HIDDEN_PARTS = 8
"""Parts of the columns, each of which is hidden while the others rebuild it; with fewer columns, each column alone."""


@torch.no_grad()
def decode(layers: Sequence[DenoisingAutoencoder], codes: Tensor) -> Tensor:
    """Return the inputs that the codes of the last of ``layers`` stand for: (B, h) → (B, d)."""
    for layer in reversed(layers):
        codes = layer.decode(codes)
    return codes


@torch.no_grad()
def reconstruct(layers: Sequence[DenoisingAutoencoder], x: Tensor) -> Tensor:
    """Encode ``x`` by all ``layers`` and decode the codes: (B, d) → (B, d)."""
    codes = x
    for layer in layers:
        codes = layer.encode(codes)
    return decode(layers, codes)


@torch.no_grad()
def reconstruct_hidden(layers: Sequence[DenoisingAutoencoder], x: Tensor, columns: Tensor) -> Tensor:
    """Rebuild each column from the others, as the layers have learnt to: (B, d) → (B, d).

    Every eighth column is hidden at a time: its inputs enter as 0, as destroyed ones do. A whole row would be copied by
    layers of many units, however unusual it is; what is hidden can't be.

    Args:
        layers: lowest first.
        x: inputs.
        columns: (d,) int64 from 0, the column that each input belongs to.
    """
    rebuilt = torch.empty_like(x)
    part = columns % HIDDEN_PARTS
    for k in range(int(part.max()) + 1):
        hidden = part == k
        rebuilt[:, hidden] = reconstruct(layers, x.masked_fill(hidden, 0.0))[:, hidden]
    return rebuilt
