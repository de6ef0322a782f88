"""One denoising autoencoder: corrupt, encode, decode, and its training step (ICML 2008, sections 2.1 to 2.3)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from stacked_dae.nn import losses
from stacked_dae.nn.activations import activate, activation_gradient, glorot_uniform, replace_missing
from stacked_dae.nn.corruption import Corruption
from stacked_dae.nn.updates import ParameterUpdater

# How near to 0 and 1 a mean is taken to be: an input that is 0 in all training rows may be another in one.
_ALMOST = 1e-6


class DenoisingAutoencoder(nn.Module):
    """A denoising autoencoder of d inputs and h units.

    encode: y = s(x Wᵀ + b), W (h, d); decode: z = s'(y W'ᵀ + b'), W' (d, h), W' = Wᵀ where tied.
    The loss rebuilds the **clean** input from the corrupted one.

    Args:
        inputs: d, at least 1.
        units: h, at least 1.
        corruption: q_D, applied in training only; None for an ordinary autoencoder.
        activation: s, one of sigmoid, tanh, relu, identity.
        decoder: s', one of sigmoid, identity.
        loss: cross_entropy (x in [0, 1], sigmoid decoder), squared_error, by_column (:func:`losses.by_column`:
            squared error and an identity decoder for the ``standardised`` inputs, cross-entropy and a sigmoid for the
            others), or a custom loss of the decoder's pre-activation (:data:`losses.Loss`).
        tied: True for W' = Wᵀ.
        alpha, beta: emphasis: the weights of the loss on destroyed inputs and on the others.
        standardised: which inputs are standardised, (d,) bool (by_column only).
        missing: whether an input that is NaN is a missing value: it enters as 0, as a destroyed one does, and is left
            out of the loss.
        generator: draws the first weights (:func:`glorot_uniform`); biases start at 0.

    Raises:
        ValueError: cross_entropy with an identity decoder, or by_column without ``standardised``.
    """

    standardised: Tensor | None

    def __init__(
        self,
        inputs: int,
        units: int,
        *,
        corruption: Corruption | None = None,
        activation: str = "sigmoid",
        decoder: str = "sigmoid",
        loss: str | losses.Loss = "cross_entropy",
        tied: bool = True,
        alpha: float = 1.0,
        beta: float = 1.0,
        standardised: Tensor | None = None,
        missing: bool = False,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if loss == "cross_entropy" and decoder != "sigmoid":
            raise ValueError("cross_entropy needs a sigmoid decoder")
        if loss == "by_column" and standardised is None:
            raise ValueError("by_column needs to know which inputs are standardised")
        self.corruption, self.activation, self.decoder, self.criterion = corruption, activation, decoder, loss
        self.alpha, self.beta, self.missing = alpha, beta, missing
        # Of the settings, not of what is learnt: no part of the weights file.
        self.register_buffer("standardised", standardised, persistent=False)
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
        filled = self.fill(x)
        if self.corruption is None:
            # Nothing is destroyed: every input counts beta.
            corrupted, weight = filled, None if self.beta == 1.0 else torch.full_like(filled, self.beta)
        else:
            corrupted, destroyed = self.corruption(filled, generator)
            plain = self.alpha == self.beta == 1.0
            weight = None if plain else losses.emphasis(destroyed, self.alpha, self.beta, x.dtype)
        return corrupted, self._of_known(x, weight)

    def fill(self, x: Tensor) -> Tensor:
        """Return the inputs as they enter the layer, missing ones as 0: (B, d)."""
        return replace_missing(x) if self.missing else x

    def _of_known(self, x: Tensor, weight: Tensor | None) -> Tensor | None:
        """Return the weights of the loss with those of missing inputs 0."""
        if not self.missing:
            return weight
        known = x.isnan().logical_not_()
        return known.to(x.dtype) if weight is None else weight * known

    def encode(self, x: Tensor) -> Tensor:
        """Return the codes y = s(x Wᵀ + b): (B, d) → (B, h)."""
        return activate(torch.addmm(self.bias, self.fill(x), self.weight.t()), self.activation)

    def decode(self, y: Tensor) -> Tensor:
        """Return the rebuilt inputs z = s'(y W'ᵀ + b'): (B, h) → (B, d)."""
        a = self._pre_decode(y)
        if self.criterion == "by_column":
            assert self.standardised is not None
            return torch.where(self.standardised, a, a.sigmoid())
        return activate(a, self.decoder)

    def _pre_decode(self, y: Tensor) -> Tensor:
        return torch.addmm(self.decoder_bias, y, self._decoding())

    def loss(self, x: Tensor, corrupted: Tensor | None = None, weight: Tensor | None = None) -> Tensor:
        """Return each example's loss of rebuilding ``x`` from ``corrupted`` (``x`` itself if None): (B, d) → (B,)."""
        a = self._pre_decode(self.encode(x if corrupted is None else corrupted)).to(x.dtype)
        return self._loss_of(a, x, weight)

    def loss_of_mean(self, x: Tensor, mean: Tensor) -> Tensor | None:
        """Return each example's loss where all are rebuilt as ``mean``: (B, d), (d,) → (B,).

        It is what a layer must be below to have learnt anything. None for a loss of the user's own.
        """
        if callable(self.criterion):
            return None
        z = mean.expand_as(x)
        if self.criterion == "squared_error":
            return losses.squared_error(z, self.fill(x), self._of_known(x, None))
        logits = z.logit(_ALMOST)
        if self.criterion == "by_column":
            assert self.standardised is not None
            logits = torch.where(self.standardised, z, logits)
        return self._loss_of(logits, x, None)

    def _loss_of(self, a: Tensor, x: Tensor, weight: Tensor | None) -> Tensor:
        """Return each example's loss, (B,), where the decoder's activations are ``a``, (B, d)."""
        weight, x = self._of_known(x, weight), self.fill(x)
        if callable(self.criterion):
            return self.criterion(a, x, weight)
        if self.criterion == "cross_entropy":
            return losses.cross_entropy(a, x, weight)
        if self.criterion == "by_column":
            assert self.standardised is not None
            return losses.by_column(a, x, self.standardised, weight)
        return losses.squared_error(activate(a, self.decoder), x, weight)

    def _losses_and_gradient(self, a: Tensor, x: Tensor, weight: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the losses (B,), and their derivative by ``a``, (B, d)."""
        if callable(self.criterion):
            return losses.gradient_of(self.criterion, a, x, weight)
        if self.criterion == "cross_entropy":
            return losses.cross_entropy(a, x, weight), losses.cross_entropy_gradient(a, x, weight)
        if self.criterion == "by_column":
            assert self.standardised is not None
            standardised = self.standardised
            value = losses.by_column(a, x, standardised, weight)
            return value, losses.by_column_gradient(a, x, standardised, weight)
        z = activate(a, self.decoder)
        gradient = activation_gradient(losses.squared_error_gradient(z, x, weight), z, self.decoder)
        return losses.squared_error(z, x, weight), gradient

    @torch.no_grad()
    def step(self, x: Tensor, corrupted: Tensor, descent: ParameterUpdater, weight: Tensor | None = None) -> Tensor:
        """Make one update on a minibatch and return its summed loss before the update, ().

        Args:
            x: clean inputs, (B, d), none missing (:meth:`fill`, and a weight of 0).
            corrupted: x̃, (B, d).
            descent: takes the gradients.
            weight: weights of the loss, (B, d); every input counts 1 if None.

        The gradient of the mean loss, in closed form: with δ' = ∂L/∂a' at the decoder and δ = (δ' W') ∘ s'(a) at the
        encoder, ∂W' = δ'ᵀ y, ∂W = δᵀ x̃ (tied: their sum), ∂b' = Σ δ', ∂b = Σ δ. Equal to autograd's.
        """
        y = self.encode(corrupted)
        a = self._pre_decode(y).to(x.dtype)
        each, delta_out = self._losses_and_gradient(a, x, weight)
        loss = each.sum()
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
