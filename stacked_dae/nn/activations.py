"""The activations s of encoders and decoders, with their gradients and the first weights that suit them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Activation:
    """An activation s, elementwise.

    Args:
        forward: a → s(a).
        backward: (δ, y) → δ ∘ s'(a), written by the outputs y = s(a).
        gain: factor of Glorot and Bengio's (2010) uniform limit √(6 / (fan in + fan out)).
        onnx: name of the ONNX operator.
    """

    forward: Callable[[Tensor], Tensor]
    backward: Callable[[Tensor, Tensor], Tensor]
    gain: float
    onnx: str


# The logistic sigmoid has a quarter of tanh's slope at 0, hence the gain of 4 (the field's practice since the Theano
# tutorial); relu passes half the variance, hence √2.
ACTIVATIONS: Mapping[str, Activation] = {
    "sigmoid": Activation(torch.sigmoid, torch.ops.aten.sigmoid_backward, 4.0, "Sigmoid"),
    "tanh": Activation(torch.tanh, torch.ops.aten.tanh_backward, 1.0, "Tanh"),
    "relu": Activation(
        torch.relu, lambda delta, y: torch.ops.aten.threshold_backward(delta, y, 0), math.sqrt(2.0), "Relu"
    ),
    "identity": Activation(lambda a: a, lambda delta, y: delta, 1.0, "Identity"),
}
"""Every activation by the name that settings and saved models have for it."""


def activate(a: Tensor, activation: str) -> Tensor:
    """Return s(a) for one of :data:`ACTIVATIONS`; same shape."""
    return ACTIVATIONS[activation].forward(a)


def activation_gradient(delta: Tensor, y: Tensor, activation: str) -> Tensor:
    """Return delta ∘ s'(a), written by the outputs y = s(a); all (B, n)."""
    return ACTIVATIONS[activation].backward(delta, y)


def glorot_uniform(n_out: int, n_in: int, activation: str, generator: torch.Generator | None) -> Tensor:
    """Return an (n_out, n_in) weight matrix, uniform in ± gain √(6 / (n_in + n_out)).

    The gain is 4 for sigmoid, √2 for relu, 1 for tanh and identity.
    """
    limit = ACTIVATIONS[activation].gain * math.sqrt(6.0 / (n_in + n_out))
    return torch.empty(n_out, n_in).uniform_(-limit, limit, generator=generator)


def max_fan_uniform(n_out: int, n_in: int, generator: torch.Generator | None) -> Tensor:
    """Return an (n_out, n_in) weight matrix, uniform in ±1 / √max(n_in, n_out), as the paper's own programs draw it."""
    limit = 1.0 / math.sqrt(max(n_in, n_out))
    return torch.empty(n_out, n_in).uniform_(-limit, limit, generator=generator)


def replace_missing(x: Tensor) -> Tensor:
    """Return ``x`` with 0 for NaN, a missing value: as corruption leaves an input; same shape."""
    return torch.where(x.isnan(), 0.0, x)
