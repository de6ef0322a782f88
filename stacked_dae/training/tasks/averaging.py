"""A moving average of the weights of a stack."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from stacked_dae.nn.stack import EncoderStack


class WeightAverage(nn.Module):
    """Exponential moving average θ̄ ← β θ̄ + (1 − β) θ of the weights of a stack, one step per update.

    After t updates β is min(``decay``, (1 + t) / (10 + t)), so that the first weights are soon forgotten.

    Args:
        stack: whose weights are averaged; a copy of it has the average.
        decay: β in the long run, in (0, 1): the average is over about 1 / (1 − β) updates.
    """

    count: Tensor

    def __init__(self, stack: EncoderStack, decay: float) -> None:
        super().__init__()
        self.decay = decay
        self.stack = copy.deepcopy(stack).requires_grad_(False)
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))

    @torch.no_grad()
    def update(self, stack: EncoderStack) -> None:
        """Take the weights after one more update."""
        # On the device, so that a captured step counts too.
        self.count += 1.0
        share = 1.0 - ((1.0 + self.count) / (10.0 + self.count)).clamp(max=self.decay)
        for average, weight in zip(self.stack.parameters(), stack.parameters(), strict=True):
            average.lerp_(weight, share.to(average.dtype))
