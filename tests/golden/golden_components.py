"""A corruption and a loss of the user's own, as the golden run of custom components was trained with."""

from __future__ import annotations

from dataclasses import dataclass

import torch


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
