"""The networks that the settings describe, with their first weights."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from stacked_dae.config.schema import Config, LayerConfig
from stacked_dae.data.columns.preprocessing import Preprocessing
from stacked_dae.data.disk_array import Inputs
from stacked_dae.nn.activations import max_fan_uniform
from stacked_dae.nn.autoencoder import DenoisingAutoencoder
from stacked_dae.nn.components import Components
from stacked_dae.nn.corruption import CORRUPTIONS
from stacked_dae.nn.stack import EncoderStack
from stacked_dae.runs.stage_names import stage_name
from stacked_dae.training.loader import DeviceRows
from stacked_dae.utils.seeding import derive_seed

# Of the inputs, as many as the size of the first weights is taken from.
_ROWS = 4096
_LARGEST_BIAS = 0.5


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
    built = components.layer(
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
        generator=_weights_generator(seed, k),
    )
    if layer.first_weights == "max_fan":
        generator = _weights_generator(seed, k)
        with torch.no_grad():
            for weight in (built.weight, built.decoder_weight):
                if weight is not None:
                    weight.copy_(max_fan_uniform(len(weight), weight.shape[1], generator))
    return built


def _weights_generator(seed: int, k: int) -> torch.Generator:
    return torch.Generator().manual_seed(derive_seed(seed, stage_name(k), "weights"))


def build_layers(
    config: Config, inputs: int, table: Preprocessing | None = None, components: Components | None = None
) -> list[DenoisingAutoencoder]:
    """Return all layers, lowest first, with their first weights; ``table`` is that of the inputs, if of one."""
    layers = []
    for k, layer in enumerate(config.layers(), 1):
        layers.append(build_layer(layer, inputs, config.seed, k, table if k == 1 else None, components))
        inputs = layer.units
    return layers


def build_stack(config: Config, inputs: int, outputs: int) -> EncoderStack:
    """Return the encoder stack of ``config`` under a head of so many outputs, without weights in its encoders."""
    layers = config.layers()
    sizes = [inputs, *(layer.units for layer in layers)]
    is_table = config.data.path is not None
    activations = [layer.activation for layer in layers]
    return EncoderStack(sizes, activations, outputs, missing=is_table, regression=config.task == "regression")


def first_rows(inputs: Inputs) -> Tensor:
    """Return the first rows, (at most 4096, d) float32: those that the scale is taken from."""
    return DeviceRows(inputs, torch.device("cpu")).read(slice(0, _ROWS))


@torch.no_grad()
def scale_first_weights(layer: DenoisingAutoencoder, x: Tensor, seed: int, stage: str) -> None:
    """Draw the first weights again, in place: W uniform in ±√(3 / mean ‖x‖²), b in ±0.5, b' at the inputs' mean.

    Args:
        layer: of d inputs; a decoder that is not tied keeps its weights.
        x: (n, d) float32, rows of the inputs; NaN, a missing value, counts as 0.
        seed: the run's.
        stage: the layer's.
    """
    x = layer.fill(x)
    generator = torch.Generator().manual_seed(derive_seed(seed, stage, "scaled weights"))
    limit = math.sqrt(3.0 / max(float(x.square().sum(1).mean()), 1e-12))
    layer.weight.uniform_(-limit, limit, generator=generator)
    layer.bias.uniform_(-_LARGEST_BIAS, _LARGEST_BIAS, generator=generator)
    mean = x.mean(0)
    linear = layer.standardised if layer.criterion == "by_column" else torch.tensor(layer.decoder == "identity")
    assert linear is not None
    layer.decoder_bias.copy_(torch.where(linear, mean, mean.clamp(0.01, 0.99).logit()))


def scale_untrained_layers(
    layers: Sequence[DenoisingAutoencoder], settings: Sequence[LayerConfig], inputs: Inputs, seed: int
) -> None:
    """Scale the first weights of layers that will not be pre-trained, in place, each by the codes of those below."""
    if all(config.first_weights != "scaled" for config in settings):
        return
    x = first_rows(inputs)
    for k, (layer, config) in enumerate(zip(layers, settings, strict=True), 1):
        if config.first_weights == "scaled":
            scale_first_weights(layer, x, seed, stage_name(k))
        with torch.no_grad():
            x = layer.encode(x)
