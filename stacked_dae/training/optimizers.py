"""The torch optimisers and learning-rate schedulers that settings and tasks name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from stacked_dae.config.schema import Config
from stacked_dae.errors import ConfigError, suggest

_TORCH_NAMES = {name.lower(): name for name in dir(torch.optim) if name[0].isupper()}
# Optimisers that call the step's loss again and again, and the base class.
_UNUSABLE = {"lbfgs", "optimizer"}
# Those that are made of other schedulers or of functions come as a function of the optimiser instead.
SCHEDULERS: Mapping[str, type[LRScheduler]] = {
    name: kind
    for name, kind in vars(torch.optim.lr_scheduler).items()
    if isinstance(kind, type)
    and issubclass(kind, LRScheduler)
    and not kind.__name__.startswith("_")
    and name not in ("LRScheduler", "LambdaLR", "MultiplicativeLR", "SequentialLR", "ChainedScheduler")
}
"""torch's learning-rate schedulers by name."""
# The arguments that are the length of the training where they are left out.
_LENGTHS = {"CosineAnnealingLR": "T_max", "OneCycleLR": "total_steps"}


def build_optimizer(name: str, parameters: list[Tensor], lr: float, options: dict[str, Any]) -> Optimizer:
    """Return the torch optimiser ``name`` (lower case), fused where torch has that, capturable on a GPU.

    Raises:
        ConfigError: the optimiser takes no such option, or refuses its value.
    """
    cls: type[Optimizer] = getattr(torch.optim, _TORCH_NAMES[name])
    known = inspect.signature(cls).parameters
    _check_options("optimizer.options", name, options, set(known) - {"params"})
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


def check_optimizer(name: str, options: Mapping[str, Any]) -> None:
    """Raise ConfigError unless torch has this optimiser and it takes these options."""
    known = _TORCH_NAMES.keys() - _UNUSABLE
    if name not in known:
        raise ConfigError(
            f"optimizer must be a torch optimiser in lower case, or a function of the parameters, not {name!r}"
            f"{suggest(name, known)}"
        )
    build_optimizer(name, [nn.Parameter(torch.zeros(1))], lr=0.1, options=dict(options))


def check_scheduler(name: str, options: Mapping[str, Any]) -> None:
    """Raise ConfigError unless torch has this scheduler and it takes these options."""
    if name not in SCHEDULERS:
        raise ConfigError(
            f"lr_scheduler must be one of {', '.join(sorted(SCHEDULERS))}, or a function of the optimiser, not {name!r}"
            f"{suggest(name, SCHEDULERS)}"
        )
    known = set(inspect.signature(SCHEDULERS[name]).parameters) - {"optimizer", "last_epoch"}
    _check_options("scheduler_options", name, options, known)


def build_scheduler(
    name: str, optimizer: Optimizer, options: Mapping[str, Any], *, length: Callable[[], int], max_lr: float
) -> LRScheduler:
    """Return the scheduler ``name`` of ``optimizer``.

    Args:
        name: one of :data:`SCHEDULERS`.
        optimizer: the optimiser whose rates it sets.
        options: its further arguments.
        length: returns how often it is stepped: CosineAnnealingLR's T_max and OneCycleLR's total_steps, where left out.
        max_lr: the greatest rate of OneCycleLR, where left out.

    Raises:
        ConfigError: the scheduler refuses an option's value, or needs one that is not given.
    """
    arguments = dict(options)
    if name in _LENGTHS and not {_LENGTHS[name], "epochs"} & arguments.keys():
        arguments[_LENGTHS[name]] = length()
    if name == "OneCycleLR":
        arguments.setdefault("max_lr", max_lr)
    try:
        return SCHEDULERS[name](optimizer, **arguments)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"scheduler_options: {name} refuses {dict(options)}: {error}") from None


def _check_options(where: str, name: str, options: Iterable[str], known: Iterable[str]) -> None:
    for option in options:
        if option not in known:
            raise ConfigError(f"{where}.{option}: {name} has no such option{suggest(option, known)}")
