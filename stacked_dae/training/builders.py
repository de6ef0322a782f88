"""The networks that the settings describe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from stacked_dae.config.schema import Config, LayerConfig
from stacked_dae.data.tabular.preprocessing import Preprocessing
from stacked_dae.errors import ConfigError
from stacked_dae.nn import corruption
from stacked_dae.nn.autoencoder import DenoisingLayer
from stacked_dae.nn.corruption import Corruption
from stacked_dae.nn.losses import Loss
from stacked_dae.nn.stack import EncoderStack
from stacked_dae.nn.updates import make_optimizer
from stacked_dae.runs.fingerprints import stage_name
from stacked_dae.utils.seeding import seed_at

_CORRUPTIONS: dict[str, type[Corruption]] = {
    "fixed_masking": corruption.FixedMasking,
    "masking": corruption.Masking,
    "gaussian": corruption.Gaussian,
    "salt_and_pepper": corruption.SaltAndPepper,
    "swap": corruption.Swap,
}


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


def build_layer(
    layer: LayerConfig,
    inputs: int,
    seed: int,
    k: int,
    table: Preprocessing | None = None,
    parts: Parts | None = None,
) -> DenoisingLayer:
    """Return layer ``k`` (from 1) with the first weights of run ``seed``; ``table`` is its inputs', if of one."""
    # A layer without noise corrupts nothing, whatever the kind.
    q = _CORRUPTIONS[layer.kind](layer.nu) if layer.nu > 0 else None  # type: ignore[call-arg]
    parts = parts or Parts()
    return parts.layer(
        inputs,
        layer.units,
        corruption=parts.corruption or q,
        activation=layer.activation,
        decoder=layer.decoder,
        loss=parts.loss or layer.loss,
        tied=layer.tied,
        alpha=layer.alpha,
        beta=layer.beta,
        standardised=torch.from_numpy(table.standardised) if table is not None and layer.loss == "by_column" else None,
        missing=table is not None,
        generator=torch.Generator().manual_seed(seed_at(seed, stage_name(k), "weights")),
    )


def build_layers(
    config: Config, inputs: int, table: Preprocessing | None = None, parts: Parts | None = None
) -> list[DenoisingLayer]:
    """Return all layers, lowest first, with their first weights; ``table`` is that of the inputs, if of one."""
    layers = []
    for k, layer in enumerate(config.layers(), 1):
        layers.append(build_layer(layer, inputs, config.seed, k, table if k == 1 else None, parts))
        inputs = layer.units
    return layers


def build_stack(config: Config, inputs: int, classes: int) -> EncoderStack:
    """Return the encoder stack of ``config``, without weights in its encoders."""
    layers = config.layers()
    sizes = [inputs, *(layer.units for layer in layers)]
    is_table = config.data.path is not None
    return EncoderStack(sizes, [layer.activation for layer in layers], classes, missing=is_table)


def check_optimizers(config: Config) -> None:
    """Raise ConfigError for an option that an optimiser does not take."""
    parts = {"finetune": (config.finetune.optimizer.name, config.finetune.optimizer.options)}
    if config.model != "mlp":
        parts["pretrain"] = (config.pretrain.optimizer.name, config.pretrain.optimizer.options)
    for part, (name, options) in parts.items():
        try:
            make_optimizer(name, [nn.Parameter(torch.zeros(1))], lr=0.1, options=options)
        except ConfigError as error:
            raise ConfigError(f"{part}.{error}") from None
