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
from stacked_dae.nn.stack import Encoder
from stacked_dae.nn.updates import ParameterUpdater


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
            ConfigError: a component does not return what it must, or a layer does not train what it computes.
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
        if self.layer is not DenoisingAutoencoder:
            # The trial draws nothing from the generators that training draws from.
            with torch.random.fork_rng():
                _check_layer(self.layer, inputs)

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


def _check_layer(kind: type[DenoisingAutoencoder], inputs: int) -> None:
    """Raise ConfigError where a layer would train or be stacked otherwise than it computes.

    The step has gradients in closed form: of a subclass that computes something else it would train something else.
    """
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(3, inputs, generator=generator)
    layer = kind(inputs, 2, generator=generator)
    encoder = Encoder(inputs, 2, layer.activation)
    encoder.load_state_dict({"weight": layer.weight, "bias": layer.bias})
    if not torch.allclose(layer.encode(x), encoder(x), atol=1e-5):
        raise ConfigError(
            f"components.layer: {kind.__name__} encodes in its own way, which fine-tuning would leave out; give"
            " PretrainTask(encoder=, decoder=) instead"
        )
    if kind.step is not DenoisingAutoencoder.step:
        return
    names, parameters = zip(*layer.named_parameters(), strict=True)
    wanted = torch.autograd.grad(layer.loss(x).mean(), parameters, allow_unused=True)
    before = [parameter.detach().clone() for parameter in parameters]
    layer.step(x, x, ParameterUpdater(torch.optim.SGD(parameters, lr=1.0)))
    for name, parameter, old, gradient in zip(names, parameters, before, wanted, strict=True):
        moved = old - parameter.detach()
        if not torch.allclose(moved, torch.zeros_like(moved) if gradient is None else gradient, rtol=1e-3, atol=1e-5):
            raise ConfigError(
                f"components.layer: {kind.__name__}.step does not follow the gradient of its loss by {name}; override"
                " step too, or give PretrainTask(encoder=, decoder=) instead"
            )


def _name(component: Any) -> str:
    if isinstance(component, SwapNoise):
        # Run folders know it under the name that it had first.
        return repr(component).replace("SwapNoise", "Swap", 1)
    if hasattr(component, "__qualname__"):
        return f"{component.__module__}.{component.__qualname__}"
    return repr(component)
