"""Folds of labels, and the shares of a mixture by held-out likelihood."""

from __future__ import annotations

import torch
from torch import Tensor

_STEPS = 15


def stratified_folds(labels: Tensor, folds: int, generator: torch.Generator) -> Tensor:
    """Return the fold of each row, (n,) from 0: each class, and all rows, are spread evenly, up to one row."""
    found = torch.empty_like(labels)
    begin = 0
    for label in range(int(labels.max()) + 1):
        rows = torch.nonzero(labels == label)[:, 0]
        rows = rows[torch.randperm(len(rows), generator=generator)]
        found[rows] = (begin + torch.arange(len(rows))) % folds
        begin += len(rows)
    return found


def mixture_shares(log_p: Tensor, weights: Tensor) -> Tensor:
    """Return the shares with which candidates are mixed, by expectation-maximisation from equal shares (stacking).

    The steps are few, so that on few rows the shares stay near equal ones.

    Args:
        log_p: (candidates, n) log probability that each gave to the true class of a row that it had not seen.
        weights: (n,) of the rows, at least 0.

    Returns:
        (candidates,), at least 0, of sum 1.
    """
    shares = log_p.new_full((len(log_p),), 1.0 / len(log_p))
    for _ in range(_STEPS):
        posterior = (log_p + shares.log()[:, None]).softmax(0)
        shares = (posterior * weights).sum(1) / weights.sum()
    return shares
