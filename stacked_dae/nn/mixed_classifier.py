"""A mixture of softmax classifiers on inputs and codes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from stacked_dae.nn.activations import activate
from stacked_dae.nn.stack import Encoder, EncoderStack, StackedEncoders


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
        missing: whether an input that is NaN is a missing value, which enters as 0.
    """

    def __init__(
        self,
        encoders: Sequence[Encoder],
        heads: SkipHeads,
        members: Members | None,
        shares: Tensor,
        *,
        missing: bool = True,
    ) -> None:
        super().__init__(encoders, missing=missing)
        self.heads, self.members = heads, members
        self.register_buffer("shares", shares)

    shares: Tensor

    @staticmethod
    def from_state(state: Mapping[str, Tensor], activations: Sequence[str], *, missing: bool) -> MixedClassifier:
        """Return the classifier whose ``state_dict`` is ``state``.

        Raises:
            KeyError, RuntimeError: it is that of no such classifier.
        """
        encoders = []
        for k, activation in enumerate(activations):
            units, inputs = state[f"encoders.{k}.weight"].shape
            encoders.append(Encoder(inputs, units, activation))

        def heads(prefix: str) -> SkipHeads:
            count, inputs, classes = state[f"{prefix}.input_weight"].shape
            return SkipHeads(inputs, state[f"{prefix}.code_weight"].shape[1], classes, count)

        has_members = "members.heads.bias" in state
        members = Members(encoders, heads("members.heads")) if has_members else None
        made = MixedClassifier(encoders, heads("heads"), members, torch.empty_like(state["shares"]), missing=missing)
        made.load_state_dict(state, strict=True)
        return made

    @property
    def outputs(self) -> int:
        """Number of classes."""
        return self.heads.bias.shape[1]

    def parts(self) -> dict[str, float]:
        """Return the shares, of sum 1, of the heads on the inputs alone, on inputs and codes, and of the members."""
        codes = self.heads.code_weight.flatten(1).any(1)
        of_heads = self.shares[:-1]
        return {
            "inputs": float(of_heads[~codes].sum()),
            "codes": float(of_heads[codes].sum()),
            "finetuned": float(self.shares[-1]),
        }

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


def network_of(
    state: Mapping[str, Tensor], activations: Sequence[str], *, missing: bool, regression: bool = False
) -> EncoderStack | MixedClassifier:
    """Return the network whose ``state_dict`` is ``state``, or the encoders under a head of no output without a head.

    Args:
        state: its weights by name.
        activations: of its layers, lowest first.
        missing: whether NaN among the inputs is a missing value.
        regression: whether its outputs are numbers, not logits.

    Raises:
        KeyError, RuntimeError: it is that of no such network.
    """
    if "shares" in state:
        return MixedClassifier.from_state(state, activations, missing=missing)
    shapes = [state[f"encoders.{k}.weight"].shape for k in range(len(activations))]
    sizes = [shapes[0][1], *(units for units, _ in shapes)]
    stack = EncoderStack(sizes, activations, len(state.get("head.bias", ())), missing=missing, regression=regression)
    head = {f"head.{name}": tensor for name, tensor in stack.head.state_dict().items()}
    stack.load_state_dict({**({} if "head.bias" in state else head), **state}, strict=True)
    return stack
