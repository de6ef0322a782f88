"""Softmax regression with an L2 penalty, on several weightings of the same rows at once."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

_ITERATIONS, _MEMORY = 300, 20
_SMALLEST_SHARE = 1e-10


def fit_softmax_heads(
    features: Tensor, labels: Tensor, weights: Tensor, strength: float, classes: int
) -> tuple[Tensor, Tensor]:
    """Return the minimum of Σ w · cross-entropy + ‖V‖² / (2 · strength) for each row of ``weights``, by L-BFGS.

    The problems are convex and independent of each other. With more features than rows the minimum lies in the span of
    the rows, and the search stays there, so that its cost follows the rows.

    Args:
        features: (n, d) float64.
        labels: (n,) int64, 0 to classes − 1.
        weights: (p, n) float64, at least 0: of each row in each of p problems.
        strength: inverse of the penalty's weight, above 0, as scikit-learn's ``C``.
        classes: k, at least 2.

    Returns:
        V (p, d, k), and the biases (p, k), which are not penalised.
    """
    basis = None
    if features.shape[1] > len(features):
        values, vectors = torch.linalg.eigh(features @ features.T)
        kept = values > values[-1] * _SMALLEST_SHARE
        lengths, directions = values[kept].sqrt(), vectors[:, kept]
        basis, features = features.T @ (directions / lengths), directions * lengths
    problems = len(weights)
    slopes = features.new_zeros(problems, features.shape[1], classes, requires_grad=True)
    biases = features.new_zeros(problems, classes, requires_grad=True)
    wanted = functional.one_hot(labels, classes).to(features.dtype)
    # Means, so that one tolerance serves any number of rows.
    totals = weights.sum(1).clamp_min(_SMALLEST_SHARE)
    penalties = 0.5 / (strength * totals)
    optimizer = torch.optim.LBFGS(
        [slopes, biases],
        max_iter=_ITERATIONS,
        history_size=_MEMORY,
        tolerance_grad=1e-7,
        tolerance_change=1e-12,
        line_search_fn="strong_wolfe",
    )

    def objective() -> Tensor:
        optimizer.zero_grad()
        log_p = (features @ slopes + biases[:, None]).log_softmax(2)
        losses = -((log_p * wanted).sum(2) * weights).sum(1) / totals
        total: Tensor = (losses + penalties * slopes.square().sum((1, 2))).sum()
        total.backward()  # type: ignore[no-untyped-call]
        return total

    with torch.enable_grad():
        optimizer.step(objective)  # type: ignore[no-untyped-call]
    found = slopes.detach()
    return found if basis is None else basis @ found, biases.detach()
