"""What may be given as an encoder of a stack."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from stacked_dae.errors import ConfigError
from stacked_dae.lightning.tasks.pretrain import PretrainTask
from stacked_dae.nn.activations import ACTIVATIONS, glorot_uniform
from stacked_dae.nn.autoencoder import DenoisingAutoencoder
from stacked_dae.nn.stack import Encoder, StackedEncoders

EncoderLike = nn.Module | tuple[int, int, str]
"""An encoder: a trained PretrainTask, any module, or (inputs, units, activation) of a new dense one."""


def encoders_of(part: Any, generator: torch.Generator | None) -> list[nn.Module]:
    """Return the encoders of one item of a task's ``encoders``, copied; ``generator`` draws a new one's weights.

    Raises:
        ConfigError: it is none of :data:`EncoderLike`.
    """
    if isinstance(part, PretrainTask) and type(part).forward is not PretrainTask.forward:
        # A subclass that encodes in its own way is an encoder as a whole.
        return [copy.deepcopy(part).train()]
    if isinstance(part, PretrainTask):
        autoencoder = part.autoencoder
        part = autoencoder if isinstance(autoencoder, DenoisingAutoencoder) else autoencoder.encoder
    if isinstance(part, StackedEncoders):
        return [_dense(layer, layer.activation, part.missing and k == 0) for k, layer in enumerate(part.layers)]
    if isinstance(part, DenoisingAutoencoder):
        if type(part).encode is not DenoisingAutoencoder.encode:
            raise ConfigError(
                f"encoders: {type(part).__name__} encodes in its own way; give its encoder as a module instead"
            )
        return [_dense(part, part.activation, part.missing)]
    if isinstance(part, nn.Module):
        # Pre-training left it in evaluation mode, and its statistics are to follow fine-tuning.
        return [copy.deepcopy(part).to(torch.get_default_dtype()).train()]
    if isinstance(part, (tuple, list)) and len(part) in (3, 4) and part[2] in ACTIVATIONS:
        inputs, units, activation = part[:3]
        encoder = Encoder(inputs, units, activation, missing=len(part) == 4 and bool(part[3]))
        with torch.no_grad():
            encoder.weight.copy_(glorot_uniform(units, inputs, activation, generator))
            encoder.bias.zero_()
        return [encoder]
    raise ConfigError(f"encoders: each must be a PretrainTask, a module, or (inputs, units, activation), not {part!r}")


def _dense(layer: DenoisingAutoencoder | Encoder, activation: str, missing: bool) -> Encoder:
    """Return a copy of a dense layer's encoding half that trains."""
    units, inputs = layer.weight.shape
    encoder = Encoder(inputs, units, activation, missing=missing)
    encoder.load_state_dict({"weight": layer.weight, "bias": layer.bias}, strict=True)
    return encoder
