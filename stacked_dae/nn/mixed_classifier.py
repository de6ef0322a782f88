"""A mixture of softmax classifiers on inputs and codes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from stacked_dae.nn.activations import activate
from stacked_dae.nn.stack import Encoder, StackedEncoders


class SkipHeads(nn.Module):
    """Softmax heads that see the inputs and the codes: logits x U + y V + c, several heads at once.

    Args:
        inputs: d.
        units: h, of the codes.
        classes: k.
        heads: m.
    """

    def __init__(self, inputs: int, units: int, classes: int, heads: int) -> None:
        super().__init__()
        self.input_weight = nn.Parameter(torch.zeros(heads, inputs, classes))
        self.code_weight = nn.Parameter(torch.zeros(heads, units, classes))
        self.bias = nn.Parameter(torch.zeros(heads, classes))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the logits: (B, d) and (B, h), or (m, B, d) and (m, B, h), → (m, B, k)."""
        return x @ self.input_weight + y @ self.code_weight + self.bias[:, None]


class Members(nn.Module):
    """Networks of one shape, side by side: encoders under a head that sees the inputs too.

    Args:
        encoders: the encoders that each begins from, lowest first.
        heads: the head of each.
    """

    def __init__(self, encoders: Sequence[Encoder], heads: SkipHeads) -> None:
        super().__init__()
        count = len(heads.bias)
        self.activations = [encoder.activation for encoder in encoders]
        self.weights = nn.ParameterList(
            nn.Parameter(encoder.weight.detach().t().repeat(count, 1, 1)) for encoder in encoders
        )
        self.biases = nn.ParameterList(nn.Parameter(encoder.bias.detach().repeat(count, 1)) for encoder in encoders)
        self.heads = heads

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the logits: (B, d) or (m, B, d) → (m, B, k); ``mask`` (m, B, h) multiplies the codes: dropout."""
        y = x
        for weight, bias, activation in zip(self.weights, self.biases, self.activations, strict=True):
            y = activate(y @ weight + bias[:, None], activation)
        logits: Tensor = self.heads(x, y if mask is None else y * mask)
        return logits


class MixedClassifier(StackedEncoders):
    """Softmax heads on the inputs and the codes of frozen encoders, and fine-tuned networks, mixed by shares.

    Args:
        encoders: the frozen encoders, lowest first.
        heads: the heads on them.
        members: networks whose mean is one more candidate; None without.
        shares: (heads + 1,) of each head, and of the members' mean; at least 0, of sum 1.
    """

    def __init__(self, encoders: Sequence[Encoder], heads: SkipHeads, members: Members | None, shares: Tensor) -> None:
        super().__init__(encoders, missing=True)
        self.heads, self.members = heads, members
        self.register_buffer("shares", shares)

    shares: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """Return the log probability of each class: (B, d) → (B, k). NaN enters as 0."""
        filled = self.fill(x)
        log_p = self.heads(filled, self.codes(x)[-1]).log_softmax(2)
        if self.members is not None:
            mean = self.members(filled).softmax(2).mean(0, keepdim=True).log()
            log_p = torch.cat([log_p, mean])
        shares = self.shares[: len(log_p), None, None]
        mixed: Tensor = (log_p + shares.log()).logsumexp(0)
        return mixed
