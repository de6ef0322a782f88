"""The settings of the optimisers and their schedules."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal

from stacked_dae.config.checks import as_list, default_of, require, require_choice, require_number
from stacked_dae.utils.type_hints import Auto, matches_type

OptimizerName = Literal["sgd", "adam", "adamw", "nadam", "radam", "rmsprop", "adagrad", "adadelta", "adamax", "asgd"]
SchedulerInterval = Literal["epoch", "step"]


@dataclass(frozen=True)
class LayerOptimizerConfig:
    """The optimiser of pre-training."""

    name: OptimizerName = "sgd"
    """A torch optimiser; sgd is the paper's."""
    lr: float | list[float] | Auto = 0.1
    """Learning rate, above 0. One value, or one per layer. auto: that of Adam for tables, 0.002, less for a layer of
    more than 100 inputs."""
    options: dict[str, Any] = field(default_factory=dict)
    """Further arguments of the torch optimiser, such as momentum or weight_decay."""
    scheduler: str | None = None
    """A class of torch.optim.lr_scheduler that changes the rate, such as CosineAnnealingLR; constant when null."""
    scheduler_options: dict[str, Any] = field(default_factory=dict)
    """Further arguments of the scheduler. Left out, CosineAnnealingLR's T_max and OneCycleLR's total_steps are the
    length of the stage, and OneCycleLR's max_lr is lr."""
    scheduler_interval: SchedulerInterval = "epoch"
    """Whether the scheduler counts epochs or steps (updates)."""
    decay: float = 0.0
    """At least 0: after t updates of a layer its rate is lr / (1 + decay t), as in the paper's own programs."""

    def __post_init__(self) -> None:
        _check_optimizer("pretrain", self)


@dataclass(frozen=True)
class OptimizerConfig:
    """The optimiser of fine-tuning."""

    name: OptimizerName = "sgd"
    """A torch optimiser; sgd is the paper's."""
    lr: float = 0.1
    """Learning rate, above 0."""
    options: dict[str, Any] = field(default_factory=dict)
    """Further arguments of the torch optimiser, such as momentum or weight_decay."""
    scheduler: str | None = None
    """A class of torch.optim.lr_scheduler that changes the rate, such as CosineAnnealingLR; constant when null."""
    scheduler_options: dict[str, Any] = field(default_factory=dict)
    """Further arguments of the scheduler. Left out, CosineAnnealingLR's T_max and OneCycleLR's total_steps are the
    length of the stage, and OneCycleLR's max_lr is lr."""
    scheduler_interval: SchedulerInterval = "epoch"
    """Whether the scheduler counts epochs or steps (updates)."""
    decay: float = 0.0
    """At least 0: after t updates the rate is lr / (1 + decay t), as in the paper's own programs."""

    def __post_init__(self) -> None:
        _check_optimizer("finetune", self)


def _check_optimizer(stage: str, config: LayerOptimizerConfig | OptimizerConfig) -> None:
    where = f"{stage}.optimizer"
    require_choice(f"{where}.name", config.name, OptimizerName)
    for lr in as_list(config.lr) if config.lr != "auto" else []:
        require_number(f"{where}.lr", lr, 0.0, open_low=True)
    require("lr" not in config.options, f"{where}.options.lr: set {where}.lr instead")
    _check_options(f"{where}.options", config.options)
    _check_options(f"{where}.scheduler_options", config.scheduler_options)
    require_choice(f"{where}.scheduler_interval", config.scheduler_interval, SchedulerInterval)
    require_number(f"{where}.decay", config.decay, 0.0)
    both = f"{where}.decay and {where}.scheduler both change the rate; leave one of them out"
    require(config.scheduler is None or config.decay == 0.0, both)
    for name in ("scheduler_options", "scheduler_interval"):
        unset = getattr(config, name) == default_of(type(config), name)
        require(config.scheduler is not None or unset, f"{where}.{name} applies only with {where}.scheduler")


def _check_options(where: str, options: dict[str, Any]) -> None:
    for name, value in options.items():
        require(isinstance(name, str), f"{where} must have names, not {name!r}")
        plain = all(
            part is None or isinstance(part, (bool, str)) or (matches_type(float, part) and math.isfinite(part))
            for part in as_list(value)
        )
        require(plain, f"{where}.{name} must be a number, text, true, false or a list of numbers")
