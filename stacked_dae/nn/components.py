"""Custom components that replace the configured corruption, loss or layer class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from stacked_dae.errors import ConfigError
from stacked_dae.nn.autoencoder import DenoisingAutoencoder
from stacked_dae.nn.corruption import Corruption, SwapNoise
from stacked_dae.nn.losses import Loss


@dataclass(frozen=True)
class Components:
    """Custom components that replace the configured corruption, loss or layer class, in every layer.

    Args:
        corruption: q_D; its ``repr`` says what it is, as that of a frozen dataclass does.
        loss: a function (a, x, weight) → (B,) (:data:`stacked_dae.nn.losses.Loss`), defined in a module.
        layer: a subclass of DenoisingAutoencoder, defined in a module, that takes the same arguments and encodes in the
            same way.
    """

    corruption: Corruption | None = None
    loss: Loss | None = None
    layer: type[DenoisingAutoencoder] = DenoisingAutoencoder

    def check(self, inputs: int) -> None:
        """Call each component on three examples of ``inputs``.

        Raises:
            ConfigError: a component does not return what it must.
        """
        x = torch.full((3, inputs), 0.5)
        if self.corruption is not None:
            found = self.corruption(x, torch.Generator())
            pair = isinstance(found, tuple) and len(found) == 2 and all(isinstance(part, Tensor) for part in found)
            if not (pair and found[0].shape == found[1].shape == x.shape and found[1].dtype == torch.bool):
                raise ConfigError(
                    "components.corruption must return two tensors of the shape of its input, (B, d): the corrupted"
                    " input, and True where it is destroyed"
                )
        if self.loss is not None and getattr(self.loss(x, x, None), "shape", None) != (3,):
            raise ConfigError("components.loss must return the loss of each example, (B,): sum over the inputs, dim=1")

    @property
    def name(self) -> str | None:
        """The name that tells these components from others in a run folder; None without any. It is hashed.

        Raises:
            ConfigError: a component has no name that another process would give it too.
        """
        names = {}
        if self.corruption is not None:
            names["corruption"] = _name(self.corruption)
        if self.loss is not None:
            names["loss"] = _name(self.loss)
        if self.layer is not DenoisingAutoencoder:
            names["layer"] = _name(self.layer)
        for component, name in names.items():
            if " at 0x" in name or "<" in name:
                raise ConfigError(
                    f"components.{component}: {name} does not say what it is, so a run with it could not be resumed;"
                    " make it a frozen dataclass, or a function or class of a module"
                )
        return "; ".join(f"{component}: {name}" for component, name in names.items()) or None


def _name(component: Any) -> str:
    if isinstance(component, SwapNoise):
        # Run folders know it under the name that it had first.
        return repr(component).replace("SwapNoise", "Swap", 1)
    if hasattr(component, "__qualname__"):
        return f"{component.__module__}.{component.__qualname__}"
    return repr(component)
