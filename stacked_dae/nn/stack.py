"""The stacked encoders under a softmax classifier, and its training step (ICML 2008, section 2.4)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from stacked_dae.nn.activations import activate, activation_gradient, replace_missing
from stacked_dae.nn.autoencoder import DenoisingAutoencoder
from stacked_dae.nn.updates import ParameterUpdater


class Encoder(nn.Module):
    """The encoding half of a layer: weight (h, d), bias (h,), activation s.

    ``missing`` says whether an input that is NaN is a missing value, which enters as 0.
    """

    def __init__(self, inputs: int, units: int, activation: str, *, missing: bool = False) -> None:
        super().__init__()
        self.activation, self.missing = activation, missing
        self.weight = nn.Parameter(torch.empty(units, inputs))
        self.bias = nn.Parameter(torch.empty(units))

    def forward(self, x: Tensor) -> Tensor:
        """Return y = s(x Wᵀ + b): (B, d) → (B, h)."""
        x = replace_missing(x) if self.missing else x
        return activate(torch.addmm(self.bias, x, self.weight.t()), self.activation)


class LinearHead(nn.Module):
    """The classifier on top: logits y Vᵀ + c, V (classes, h). Starts at 0, so that every class is equally likely.

    A regression predicts the outputs y Vᵀ + c themselves.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(outputs, inputs))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, y: Tensor) -> Tensor:
        """Return the logits: (B, h) → (B, outputs)."""
        return torch.addmm(self.bias, y, self.weight.t())


class StackedEncoders(nn.Module):
    """Encoders on top of each other.

    Args:
        encoders: lowest first.
        missing: whether an input that is NaN is a missing value, which enters as 0.
    """

    def __init__(self, encoders: Iterable[Encoder], *, missing: bool) -> None:
        super().__init__()
        self.missing = missing
        self.encoders = nn.ModuleList(encoders)

    @property
    def widths(self) -> list[int]:
        """Units of each encoder, lowest first."""
        return [len(encoder.bias) for encoder in self.layers]

    @property
    def layers(self) -> list[Encoder]:
        """The encoders, lowest first."""
        return cast(list[Encoder], list(self.encoders))

    def fill(self, x: Tensor) -> Tensor:
        """Return the inputs as they enter the first layer, missing ones as 0: (B, d)."""
        return replace_missing(x) if self.missing else x

    def codes(self, x: Tensor) -> list[Tensor]:
        """Return the codes of every layer, lowest first: (B, d) → (B, h_k) each."""
        codes = []
        x = self.fill(x)
        for encoder in self.layers:
            x = encoder(x)
            codes.append(x)
        return codes


class EncoderStack(StackedEncoders):
    """Encoders, lowest first, under a :class:`LinearHead`.

    Args:
        sizes: widths (d, h_1, …, h_K).
        activations: s of each encoder, K of them.
        outputs: number of classes, at least 2, or of targets (regression only).
        missing: whether an input that is NaN is a missing value, which enters as 0.
        regression: whether the loss is the squared error of the outputs, not that of the softmax.

    The encoders' weights are empty until :meth:`copy_encoders_from` or ``load_state_dict`` gives them some.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        activations: Sequence[str],
        outputs: int,
        *,
        missing: bool = False,
        regression: bool = False,
    ) -> None:
        super().__init__(
            (Encoder(d, h, s) for d, h, s in zip(sizes[:-1], sizes[1:], activations, strict=True)), missing=missing
        )
        self.regression = regression
        self.head = LinearHead(sizes[-1], outputs)

    @property
    def outputs(self) -> int:
        """Number of classes, or of targets (regression only)."""
        return len(self.head.bias)

    def copy_encoders_from(self, layers: Sequence[DenoisingAutoencoder]) -> EncoderStack:
        """Copy the encoders' weights from ``layers``, bit by bit, and return self.

        Raises:
            ValueError: another number of layers.
            RuntimeError: a layer of another shape.
        """
        for encoder, layer in zip(self.layers, layers, strict=True):
            encoder.load_state_dict({"weight": layer.weight, "bias": layer.bias}, strict=True)
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits: (B, d) → (B, outputs)."""
        logits: Tensor = self.head(self.codes(x)[-1])
        return logits

    @torch.no_grad()
    def step(self, x: Tensor, labels: Tensor, descent: ParameterUpdater, masks: Sequence[Tensor] = ()) -> Tensor:
        """Make one update on the minibatch ``x`` (B, d), ``labels`` (B,) int64; return its summed loss before it, ().

        ``masks``, if there are any, multiply the codes of each layer, (B, h_k) each: dropout. In a regression
        ``labels`` are the targets, (B, outputs) float32.

        The loss is −log softmax(logits)[label]. In closed form: δ = (softmax − onehot) / B at the head, then downwards
        δ ← (δ W) ∘ s'(a); every ∂W = δᵀ (the layer's input), ∂b = Σ δ. In a regression it is Σ (outputs − targets)²,
        δ = 2 (outputs − targets) / B. Equal to autograd's.
        """
        inputs, codes = [self.fill(x)], []
        for k, encoder in enumerate(self.layers):
            codes.append(encoder(inputs[-1]))
            inputs.append(codes[-1] * masks[k] if masks else codes[-1])
        outputs: Tensor = self.head(inputs[-1]).to(x.dtype)
        if self.regression:
            delta = outputs.sub_(labels)
            loss = delta.square().sum()
            delta.mul_(2.0 / len(labels))
        else:
            log_p = functional.log_softmax(outputs, dim=1)
            loss = functional.nll_loss(log_p, labels, reduction="sum")
            delta = log_p.exp_()
            delta.scatter_add_(1, labels[:, None], delta.new_full((len(labels), 1), -1.0)).div_(len(labels))
        encoders = self.layers
        modules: list[Encoder | LinearHead] = [*encoders, self.head]
        for k in reversed(range(len(modules))):
            weight, below = modules[k].weight, inputs[k]
            # The delta of the layer below needs the old weights, so it is computed before they move.
            lower = delta
            if k:
                lower = delta @ weight
                if masks:
                    lower.mul_(masks[k - 1])
                lower = activation_gradient(lower, codes[k - 1], encoders[k - 1].activation)
            descent.weight(weight, (delta.t(), below))
            descent.bias(modules[k].bias, delta)
            delta = lower
        descent.update()
        return loss
