"""Reconstruction losses (ICML 2008, section 2.1) with emphasis (JMLR 2010, section 5.3).

Each takes the decoder's pre-activation ``a`` and the clean input ``x``, both (B, d), and gives one loss
per example, (B,): the sum over the d inputs. ``weight``, (B, d), multiplies the loss of each input. Next to
each loss stands its derivative by ``a``, (B, d), which the layer's closed-form step uses.

A custom loss is any function (a, x, weight) → (B,); autograd derives it by ``a``.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

Loss = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""A custom loss: (a, x, weight) → (B,)."""


def emphasis(destroyed: Tensor, alpha: float, beta: float, dtype: torch.dtype) -> Tensor:
    """Return the weights (B, d): ``alpha`` where ``destroyed``, else ``beta``."""
    return torch.where(destroyed, alpha, beta).to(dtype)


def cross_entropy(a: Tensor, x: Tensor, weight: Tensor | None = None) -> Tensor:
    """Return −Σ_k [x_k log z_k + (1−x_k) log(1−z_k)] with z = sigmoid(a), for x in [0, 1]: shapes (B, d) → (B,).

    Computed from ``a`` itself, as softplus(a) − x a, so that a saturated unit neither overflows nor loses its gradient.
    """
    if weight is None:
        return softplus(a).sum(1) - _row_dot(x, a)
    return _row_dot(weight, softplus(a) - x * a)


def cross_entropy_gradient(a: Tensor, x: Tensor, weight: Tensor | None = None) -> Tensor:
    """Return d cross_entropy / d a = sigmoid(a) − x, weighted: (B, d)."""
    delta = a.sigmoid().sub_(x)
    return delta if weight is None else delta.mul_(weight)


def _row_dot(left: Tensor, right: Tensor) -> Tensor:
    """Return Σ_k left_k right_k of each example: (B, d) → (B,)."""
    product: Tensor = torch.linalg.vecdot(left, right)
    return product


def softplus(a: Tensor) -> Tensor:
    """Return log(1 + exp(a)) without overflow."""
    # torch's own switches to the identity above its threshold; at 40 the difference is below float64's resolution.
    return functional.softplus(a, threshold=40.0)


def squared_error(z: Tensor, x: Tensor, weight: Tensor | None = None) -> Tensor:
    """Return Σ_k (x_k − z_k)² of the rebuilt input ``z`` itself: shapes (B, d) → (B,)."""
    error = z - x
    return _row_dot(error, error if weight is None else error * weight)


def squared_error_gradient(z: Tensor, x: Tensor, weight: Tensor | None = None) -> Tensor:
    """Return d squared_error / d z = 2 (z − x), weighted: (B, d)."""
    delta = (z - x).mul_(2.0)
    return delta if weight is None else delta.mul_(weight)


def by_column(a: Tensor, x: Tensor, standardised: Tensor, weight: Tensor | None = None) -> Tensor:
    """Return the squared error of the inputs that are ``standardised``, cross-entropy of the others: (B, d) → (B,).

    Args:
        a: pre-activation of the decoder, (B, d); of a standardised input it is the rebuilt input itself.
        x: clean inputs, (B, d); those that are not standardised in [0, 1].
        standardised: which inputs are, (d,) bool.
        weight: multiplies the loss of each input, (B, d).
    """
    each = torch.where(standardised, (a - x).square(), softplus(a) - x * a)
    return each.sum(1) if weight is None else _row_dot(weight, each)


def by_column_gradient(a: Tensor, x: Tensor, standardised: Tensor, weight: Tensor | None = None) -> Tensor:
    """Return d by_column / d a, weighted: (B, d)."""
    delta = torch.where(standardised, 2.0 * (a - x), a.sigmoid() - x)
    return delta if weight is None else delta.mul_(weight)


def gradient_of(loss: Loss, a: Tensor, x: Tensor, weight: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return the losses (B,) of a custom loss, and their derivative by ``a``, (B, d), from autograd."""
    with torch.enable_grad():
        leaf = a.detach().requires_grad_()
        losses = loss(leaf, x, weight)
        (gradient,) = torch.autograd.grad(losses.sum(), leaf)
    return losses.detach(), gradient
