"""One denoising autoencoder: corrupt, encode, decode, and its training step (ICML 2008, sections 2.1 to 2.3)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from stacked_dae import losses
from stacked_dae.corruption import Corruption
from stacked_dae.descent import Descent

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


class DenoisingLayer(nn.Module):
    """A denoising autoencoder of d inputs and h units.

    encode: y = s(x Wᵀ + b), W (h, d); decode: z = s'(y W'ᵀ + b'), W' (d, h), W' = Wᵀ where tied.
    The loss rebuilds the **clean** input from the corrupted one.

    Args:
        inputs: d, at least 1.
        units: h, at least 1.
        corruption: q_D, applied in training only; None for an ordinary autoencoder.
        activation: s, one of sigmoid, tanh, relu, identity.
        decoder: s', one of sigmoid, identity.
        loss: cross_entropy (x in [0, 1], sigmoid decoder) or squared_error.
        tied: whether W' = Wᵀ.
        alpha, beta: emphasis: the weights of the loss on destroyed inputs and on the others.
        generator: draws the first weights (:func:`glorot_uniform`); biases start at 0.

    Raises:
        ValueError: cross_entropy with an identity decoder.
    """

    def __init__(
        self,
        inputs: int,
        units: int,
        *,
        corruption: Corruption | None = None,
        activation: str = "sigmoid",
        decoder: str = "sigmoid",
        loss: str = "cross_entropy",
        tied: bool = True,
        alpha: float = 1.0,
        beta: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if loss == "cross_entropy" and decoder != "sigmoid":
            raise ValueError("cross_entropy needs a sigmoid decoder")
        self.corruption, self.activation, self.decoder, self.loss_name = corruption, activation, decoder, loss
        self.alpha, self.beta = alpha, beta
        self.weight = nn.Parameter(glorot_uniform(units, inputs, activation, generator))
        self.bias = nn.Parameter(torch.zeros(units))
        self.decoder_bias = nn.Parameter(torch.zeros(inputs))
        self.decoder_weight = (
            None
            if tied
            else nn.Parameter(
                glorot_uniform(inputs, units, "sigmoid" if decoder == "sigmoid" else "identity", generator)
            )
        )

    def _decoding(self) -> Tensor:
        """Return W'ᵀ, (h, d)."""
        return self.weight if self.decoder_weight is None else self.decoder_weight.t()

    def corrupt(self, x: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor | None]:
        """Return (x̃, weights of the loss), (B, d) each; the weights are None where every input counts 1."""
        if self.corruption is None:
            # Nothing is destroyed: every input counts beta.
            weight = None if self.beta == 1.0 else torch.full_like(x, self.beta)
            return x, weight
        corrupted, destroyed = self.corruption(x, generator)
        if self.alpha == self.beta == 1.0:
            return corrupted, None
        return corrupted, losses.emphasis(destroyed, self.alpha, self.beta, x.dtype)

    def encode(self, x: Tensor) -> Tensor:
        """Return the codes y = s(x Wᵀ + b): (B, d) → (B, h)."""
        return activate(torch.addmm(self.bias, x, self.weight.t()), self.activation)

    def decode(self, y: Tensor) -> Tensor:
        """Return the rebuilt inputs z = s'(y W'ᵀ + b'): (B, h) → (B, d)."""
        return activate(self._pre_decode(y), self.decoder)

    def _pre_decode(self, y: Tensor) -> Tensor:
        return torch.addmm(self.decoder_bias, y, self._decoding())

    def loss(self, x: Tensor, corrupted: Tensor | None = None, weight: Tensor | None = None) -> Tensor:
        """Return each example's loss of rebuilding ``x`` from ``corrupted`` (``x`` itself if None): (B, d) → (B,)."""
        a = self._pre_decode(self.encode(x if corrupted is None else corrupted)).to(x.dtype)
        if self.loss_name == "cross_entropy":
            return losses.cross_entropy(a, x, weight)
        return losses.squared_error(activate(a, self.decoder), x, weight)

    @torch.no_grad()
    def step(self, x: Tensor, corrupted: Tensor, descent: Descent, weight: Tensor | None = None) -> Tensor:
        """Make one update on a minibatch and return its summed loss before the update, ().

        Args:
            x: clean inputs, (B, d).
            corrupted: x̃, (B, d).
            descent: takes the gradients.
            weight: weights of the loss, (B, d); every input counts 1 if None.

        The gradient of the mean loss, in closed form: with δ' = ∂L/∂a' at the decoder and δ = (δ' W') ∘ s'(a) at the
        encoder, ∂W' = δ'ᵀ y, ∂W = δᵀ x̃ (tied: their sum), ∂b' = Σ δ', ∂b = Σ δ. Equal to autograd's.
        """
        y = self.encode(corrupted)
        a = self._pre_decode(y).to(x.dtype)
        if self.loss_name == "cross_entropy":
            loss = losses.cross_entropy(a, x, weight).sum()
            delta_out = losses.cross_entropy_gradient(a, x, weight)
        else:
            z = activate(a, self.decoder)
            loss = losses.squared_error(z, x, weight).sum()
            delta_out = activation_gradient(losses.squared_error_gradient(z, x, weight), z, self.decoder)
        delta_out /= x.shape[0]
        delta = activation_gradient(delta_out @ self._decoding().t(), y, self.activation)
        if self.decoder_weight is None:
            descent.weight(self.weight, (delta.t(), corrupted), (y.t(), delta_out))
        else:
            descent.weight(self.weight, (delta.t(), corrupted))
            descent.weight(self.decoder_weight, (delta_out.t(), y))
        descent.bias(self.bias, delta)
        descent.bias(self.decoder_bias, delta_out)
        descent.update()
        return loss
