"""The networks that the settings describe."""

from __future__ import annotations

import torch

from stacked_dae.config.schema import Config, LayerConfig
from stacked_dae.data.tabular.preprocessing import Preprocessing
from stacked_dae.nn.autoencoder import DenoisingAutoencoder
from stacked_dae.nn.components import Components
from stacked_dae.nn.corruption import CORRUPTIONS
from stacked_dae.nn.stack import EncoderStack
from stacked_dae.runs.stage_names import stage_name
from stacked_dae.utils.seeding import derive_seed


def build_layer(
    layer: LayerConfig,
    inputs: int,
    seed: int,
    k: int,
    table: Preprocessing | None = None,
    components: Components | None = None,
) -> DenoisingAutoencoder:
    """Return layer ``k`` (from 1) with the first weights of run ``seed``; ``table`` is its inputs', if of one."""
    # A layer without noise corrupts nothing, whatever the kind.
    q = CORRUPTIONS[layer.kind](layer.nu) if layer.nu > 0 else None
    components = components or Components()
    return components.layer(
        inputs,
        layer.units,
        corruption=components.corruption or q,
        activation=layer.activation,
        decoder=layer.decoder,
        loss=components.loss or layer.loss,
        tied=layer.tied,
        alpha=layer.alpha,
        beta=layer.beta,
        standardised=torch.from_numpy(table.standardised) if table is not None and layer.loss == "by_column" else None,
        missing=table is not None,
        generator=torch.Generator().manual_seed(derive_seed(seed, stage_name(k), "weights")),
    )


def build_layers(
    config: Config, inputs: int, table: Preprocessing | None = None, components: Components | None = None
) -> list[DenoisingAutoencoder]:
    """Return all layers, lowest first, with their first weights; ``table`` is that of the inputs, if of one."""
    layers = []
    for k, layer in enumerate(config.layers(), 1):
        layers.append(build_layer(layer, inputs, config.seed, k, table if k == 1 else None, components))
        inputs = layer.units
    return layers


def build_stack(config: Config, inputs: int, classes: int) -> EncoderStack:
    """Return the encoder stack of ``config``, without weights in its encoders."""
    layers = config.layers()
    sizes = [inputs, *(layer.units for layer in layers)]
    is_table = config.data.path is not None
    return EncoderStack(sizes, [layer.activation for layer in layers], classes, missing=is_table)
