"""A denoising autoencoder of any encoder and decoder, trained by autograd."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from stacked_dae.errors import ConfigError
from stacked_dae.nn import losses
from stacked_dae.nn.activations import activate
from stacked_dae.nn.corruption import Corruption, GroupedCorruption


class ModuleAutoencoder(nn.Module):
    """A denoising autoencoder of a pair of modules: y = encoder(x), a = decoder(y), z = s'(a).

    Inputs have any shape (B, …); a loss, and a corruption of single values, see them as (B, d).

    Args:
        encoder: takes the inputs.
        decoder: takes the codes and returns pre-activations of the shape of the inputs.
        corruption: q_D, applied in training only; None for an ordinary autoencoder.
        decoder_activation: s', sigmoid or identity.
        loss: cross_entropy, squared_error or a custom loss of the pre-activation (:data:`losses.Loss`).
        alpha, beta: weights of the loss on destroyed inputs and on the others.
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        *,
        corruption: Corruption | None,
        decoder_activation: str,
        loss: str | losses.Loss,
        alpha: float = 1.0,
        beta: float = 1.0,
    ) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder
        self.corruption, self.decoder_activation, self.criterion = corruption, decoder_activation, loss
        self.alpha, self.beta = alpha, beta

    def corrupt(self, x: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor | None]:
        """Return x̃ (B, …), and the weights of the loss (B, d), None where every input counts 1."""
        flat = x.flatten(1)
        if self.corruption is None:
            return x, None if self.beta == 1.0 else torch.full_like(flat, self.beta)
        grouped = isinstance(self.corruption, GroupedCorruption)
        corrupted, destroyed = self.corruption(x if grouped else flat, generator)
        plain = self.alpha == self.beta == 1.0
        weight = None if plain else losses.emphasis(destroyed.flatten(1), self.alpha, self.beta, x.dtype)
        return corrupted.reshape(x.shape), weight

    def encode(self, x: Tensor) -> Tensor:
        """Return the codes, in the encoder's shape."""
        codes: Tensor = self.encoder(x)
        return codes

    def decode(self, y: Tensor) -> Tensor:
        """Return the rebuilt inputs z = s'(a), in the decoder's shape."""
        return activate(self.decoder(y), self.decoder_activation)

    def loss(self, x: Tensor, corrupted: Tensor | None = None, weight: Tensor | None = None) -> Tensor:
        """Return each example's loss of rebuilding ``x`` from ``corrupted`` (``x`` itself if None): (B, …) → (B,).

        Raises:
            ConfigError: the decoder does not take the encoder's codes, or returns another shape than the inputs'.
        """
        y = self.encode(x if corrupted is None else corrupted)
        try:
            a = self.decoder(y)
        except RuntimeError as error:
            reason = str(error).splitlines()[0]
            raise ConfigError(f"decoder: it does not take the encoder's codes, {tuple(y.shape)}: {reason}") from error
        if a.shape != x.shape:
            raise ConfigError(
                f"decoder: it must return the shape of the inputs, {tuple(x.shape)}, but returned {tuple(a.shape)}"
            )
        a, flat = a.flatten(1).to(x.dtype), x.flatten(1)
        if callable(self.criterion):
            return self.criterion(a, flat, weight)
        if self.criterion == "cross_entropy":
            return losses.cross_entropy(a, flat, weight)
        return losses.squared_error(activate(a, self.decoder_activation), flat, weight)
