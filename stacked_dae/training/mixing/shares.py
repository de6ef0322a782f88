"""Folds of labels, and what held-out likelihood says: the shares of a mixture, and whether one is better."""

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


def mixture_shares(log_p: Tensor, weights: Tensor, prior: Tensor | None = None) -> Tensor:
    """Return the shares with which candidates are mixed, by expectation-maximisation from equal shares (stacking).

    The steps are few, so that on few rows the shares stay near equal ones.

    Args:
        log_p: (candidates, n) log probability that each gave to the true class of a row that it had not seen.
        weights: (n,) of the rows, at least 0.
        prior: (candidates,) rows that count for each before any of ``log_p``; None for 0.

    Returns:
        (candidates,), at least 0, of sum 1.
    """
    shares = log_p.new_full((len(log_p),), 1.0 / len(log_p))
    for _ in range(_STEPS):
        posterior = (log_p + shares.log()[:, None]).softmax(0)
        counts = (posterior * weights).sum(1)
        if prior is not None:
            counts = counts + prior
        shares = counts / counts.sum()
    return shares


def is_above(gains: Tensor, weights: Tensor, standard_errors: float) -> bool:
    """Return whether the mean of ``gains`` is more than so many standard errors above 0.

    Args:
        gains: (n,).
        weights: (n,) of the rows, at least 0.
        standard_errors: at least 0.
    """
    mean = (weights * gains).sum() / weights.sum()
    variance = (weights * (gains - mean).square()).sum() / weights.sum()
    rows = weights.sum().square() / weights.square().sum()
    return bool(mean > 0 and mean.square() * (rows - 1) > standard_errors**2 * variance)
