"""Activations with their gradients, and the first weights that suit them."""

from __future__ import annotations

import math

import torch
from torch import Tensor

# Factors of Glorot and Bengio's (2010) uniform limit √(6 / (fan in + fan out)). The logistic sigmoid has a quarter of
# tanh's slope at 0, hence 4 (the field's practice since the Theano tutorial); relu passes half the variance, hence √2.
_GAIN = {"sigmoid": 4.0, "tanh": 1.0, "relu": math.sqrt(2.0), "identity": 1.0}


def activate(a: Tensor, activation: str) -> Tensor:
    """Return s(a) for one of sigmoid, tanh, relu, identity; same shape."""
    if activation == "sigmoid":
        return torch.sigmoid(a)
    if activation == "tanh":
        return torch.tanh(a)
    if activation == "relu":
        return torch.relu(a)
    return a


def replace_missing(x: Tensor) -> Tensor:
    """Return ``x`` with 0 for NaN, a missing value: as corruption leaves an input; same shape."""
    return torch.where(x.isnan(), 0.0, x)


def activation_gradient(delta: Tensor, y: Tensor, activation: str) -> Tensor:
    """Return delta ∘ s'(a), written by the outputs y = s(a); all (B, n)."""
    if activation == "sigmoid":
        return torch.ops.aten.sigmoid_backward(delta, y)  # type: ignore[no-any-return]
    if activation == "tanh":
        return torch.ops.aten.tanh_backward(delta, y)  # type: ignore[no-any-return]
    if activation == "relu":
        return torch.ops.aten.threshold_backward(delta, y, 0)  # type: ignore[no-any-return]
    return delta


def glorot_uniform(n_out: int, n_in: int, activation: str, generator: torch.Generator | None) -> Tensor:
    """Return an (n_out, n_in) weight matrix, uniform in ± gain √(6 / (n_in + n_out)).

    The gain is 4 for sigmoid, √2 for relu, 1 for tanh and identity.
    """
    limit = _GAIN[activation] * math.sqrt(6.0 / (n_in + n_out))
    return torch.empty(n_out, n_in).uniform_(-limit, limit, generator=generator)
