"""A corruption, a loss and a layer of one's own."""

from __future__ import annotations

import torch
from golden_components import Inverting as Inverting
from golden_components import absolute_error as absolute_error

from stacked_dae import DenoisingAutoencoder


class Scaled(DenoisingAutoencoder):
    """One more parameter, in the decoder."""

    def __init__(self, inputs, units, **how):
        super().__init__(inputs, units, **how)
        self.scale = torch.nn.Parameter(torch.ones(()))


def thinned(x, generator=None):
    """A corruption that is a function."""
    destroyed = torch.rand(x.shape, generator=generator) < 0.1
    return x.masked_fill(destroyed, 0.0), destroyed
