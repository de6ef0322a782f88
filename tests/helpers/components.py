"""A corruption, a loss and a layer of one's own."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from stacked_dae import DenoisingAutoencoder


@dataclass(frozen=True)
class Inverting:
    """Turns each input x into 1 − x with probability ``nu``."""

    nu: float

    def __call__(self, x, generator=None):
        destroyed = torch.rand(x.shape, generator=generator) < self.nu
        return torch.where(destroyed, 1 - x, x), destroyed


def absolute_error(a, x, weight):
    each = (a.sigmoid() - x).abs()
    return (each if weight is None else each * weight).sum(1)


class Scaled(DenoisingAutoencoder):
    """One more parameter, in the decoder."""

    def __init__(self, inputs, units, **how):
        super().__init__(inputs, units, **how)
        self.scale = torch.nn.Parameter(torch.ones(()))


def thinned(x, generator=None):
    """A corruption that is a function."""
    destroyed = torch.rand(x.shape, generator=generator) < 0.1
    return x.masked_fill(destroyed, 0.0), destroyed
