"""The torch optimisers that the settings name."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from stacked_dae.config.schema import Config
from stacked_dae.errors import ConfigError, suggest

_TORCH_NAMES = {name.lower(): name for name in dir(torch.optim) if name[0].isupper()}


def build_optimizer(name: str, parameters: list[Tensor], lr: float, options: dict[str, Any]) -> Optimizer:
    """Return the torch optimiser ``name`` (lower case), fused where torch has that, capturable on a GPU.

    Raises:
        ConfigError: the optimiser takes no such option, or refuses its value.
    """
    cls: type[Optimizer] = getattr(torch.optim, _TORCH_NAMES[name])
    known = inspect.signature(cls).parameters
    for option in options:
        if option not in known or option == "params":
            raise ConfigError(f"optimizer.options.{option}: {name} has no such option{suggest(option, known)}")
    arguments = {"lr": lr, **options}
    if "capturable" in known and parameters[0].is_cuda:
        arguments.setdefault("capturable", True)
    if "fused" in known and not {"fused", "foreach"} & arguments.keys():
        arguments["fused"] = True
    try:
        return cls(parameters, **arguments)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ConfigError(f"optimizer.options: {name} refuses {options}: {error}") from None


def check_optimizers(config: Config) -> None:
    """Raise ConfigError for an option that an optimiser does not take."""
    parts = {"finetune": (config.finetune.optimizer.name, config.finetune.optimizer.options)}
    if config.model != "mlp":
        parts["pretrain"] = (config.pretrain.optimizer.name, config.pretrain.optimizer.options)
    for part, (name, options) in parts.items():
        try:
            build_optimizer(name, [nn.Parameter(torch.zeros(1))], lr=0.1, options=options)
        except ConfigError as error:
            raise ConfigError(f"{part}.{error}") from None
