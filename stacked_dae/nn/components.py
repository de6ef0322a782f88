"""Custom components that replace the configured corruption, loss or layer class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from stacked_dae.errors import ConfigError
from stacked_dae.nn.autoencoder import DenoisingLayer
from stacked_dae.nn.corruption import Corruption
from stacked_dae.nn.losses import Loss


@dataclass(frozen=True)
class Parts:
    """Objects of one's own, in place of what the settings name, in every layer.

    Args:
        corruption: q_D; its ``repr`` says what it is, as that of a frozen dataclass does.
        loss: a function of (a, x, weight) that gives (B,); see :data:`stacked_dae.nn.losses.Loss`.
        layer: a subclass of DenoisingLayer that takes the same arguments and encodes in the same way; it must be in a
            module, as a loss must.
    """

    corruption: Corruption | None = None
    loss: Loss | None = None
    layer: type[DenoisingLayer] = DenoisingLayer

    def check(self, inputs: int) -> None:
        """Raise ConfigError for a part that does not return what it must, tried on three examples of ``inputs``."""
        x = torch.full((3, inputs), 0.5)
        if self.corruption is not None:
            found = self.corruption(x, torch.Generator())
            pair = isinstance(found, tuple) and len(found) == 2 and all(isinstance(part, Tensor) for part in found)
            if not (pair and found[0].shape == found[1].shape == x.shape and found[1].dtype == torch.bool):
                raise ConfigError(
                    "parts.corruption must return two tensors of the shape of its input, (B, d): the corrupted input,"
                    " and True where it is destroyed"
                )
        if self.loss is not None and getattr(self.loss(x, x, None), "shape", None) != (3,):
            raise ConfigError("parts.loss must return the loss of each example, (B,): sum over the inputs, dim=1")

    @property
    def name(self) -> str | None:
        """What tells these parts from others in a run folder, None where there are none.

        Raises:
            ConfigError: a part does not say what it is.
        """
        names = {}
        if self.corruption is not None:
            names["corruption"] = _qualified(self.corruption)
        if self.loss is not None:
            names["loss"] = _qualified(self.loss)
        if self.layer is not DenoisingLayer:
            names["layer"] = _qualified(self.layer)
        for part, name in names.items():
            if " at 0x" in name or "<" in name:
                raise ConfigError(
                    f"parts.{part}: {name} does not say what it is, so a run with it could not go on; make it a frozen"
                    " dataclass, or a function or class of a module"
                )
        return "; ".join(f"{part}: {name}" for part, name in names.items()) or None


def _qualified(thing: Any) -> str:
    return f"{thing.__module__}.{thing.__qualname__}" if hasattr(thing, "__qualname__") else repr(thing)
