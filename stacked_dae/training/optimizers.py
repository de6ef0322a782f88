"""The torch optimisers and learning-rate schedulers that settings and tasks name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from stacked_dae.config.checks import as_list
from stacked_dae.config.optimizer_schema import LayerOptimizerConfig, OptimizerConfig
from stacked_dae.config.schema import Config
from stacked_dae.errors import ConfigError, suggest
from stacked_dae.runs.stage_names import FINETUNE

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
# A schedule of more steps is tried as far as this: in a fraction of a second.
_MOST_TRIED = 20_000
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
    """Raise ConfigError for an unknown scheduler, or an option that an optimiser or a scheduler does not take."""
    parts: dict[str, LayerOptimizerConfig | OptimizerConfig] = {"finetune": config.finetune.optimizer}
    if config.model != "mlp":
        parts["pretrain"] = config.pretrain.optimizer
    for part, chosen in parts.items():
        try:
            optimizer = build_optimizer(
                chosen.name, [nn.Parameter(torch.zeros(1))], lr=_first_rate(chosen), options=chosen.options
            )
            if chosen.scheduler == "ReduceLROnPlateau" and chosen.scheduler_interval == "step":
                raise ConfigError(
                    "optimizer.scheduler_interval: ReduceLROnPlateau follows the validation loss, which is known once"
                    " an epoch; set epoch"
                )
            if chosen.scheduler is not None:
                check_scheduler(chosen.scheduler, chosen.scheduler_options, where="optimizer.scheduler")
                _try_scheduler(chosen.scheduler, optimizer, chosen.scheduler_options, 2, "optimizer.scheduler")
        except ConfigError as error:
            raise ConfigError(f"{part}.{error}") from None


def check_schedules(config: Config, rows: Mapping[str, int]) -> None:
    """Raise ConfigError where a schedule of the settings is shorter than its stage.

    Args:
        config: the settings, checked by :func:`check_optimizers`.
        rows: the training rows of each stage, by its name.
    """
    for stage, count in rows.items():
        part = config.finetune if stage == FINETUNE else config.pretrain
        chosen = part.optimizer
        if chosen.scheduler is None:
            continue
        of_layers = (layer.epochs_on(count) for layer in config.layers())
        epochs = config.finetune.epochs if stage == FINETUNE else max(of_layers)
        steps = epochs * (-(-count // part.batch_size) if chosen.scheduler_interval == "step" else 1)
        name = "finetune" if stage == FINETUNE else "pretrain"
        optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=_first_rate(chosen))
        _try_scheduler(
            chosen.scheduler,
            optimizer,
            chosen.scheduler_options,
            min(steps, _MOST_TRIED),
            f"{name}.optimizer.scheduler",
        )


def _first_rate(config: LayerOptimizerConfig | OptimizerConfig) -> float:
    """Return a rate to try out an optimiser with."""
    return 0.1 if config.lr == "auto" else as_list(config.lr)[0]


def _try_scheduler(name: str, optimizer: Optimizer, options: Mapping[str, Any], steps: int, where: str) -> None:
    """Raise ConfigError unless a scheduler can be stepped so often."""
    milestones = options.get("milestones", [])
    if not isinstance(milestones, list) or not all(isinstance(step, int) for step in milestones):
        raise ConfigError(f"{_options_of(where)}.milestones must be a list of whole numbers, not {milestones!r}")
    scheduler: Any = build_scheduler(name, optimizer, options, length=lambda: steps, max_lr=0.1, where=where)
    # Without gradients it changes nothing.
    optimizer.step()
    try:
        for _ in range(steps):
            scheduler.step(*([1.0] if name == "ReduceLROnPlateau" else []))
    except Exception as error:  # what a value that is none makes a scheduler raise depends on both
        reason = str(error).splitlines()[0]
        raise ConfigError(f"{_options_of(where)}: {name} refuses {dict(options)}: {reason}") from None


def check_optimizer(name: str, options: Mapping[str, Any]) -> None:
    """Raise ConfigError unless torch has this optimiser and it takes these options."""
    known = _TORCH_NAMES.keys() - _UNUSABLE
    if name not in known:
        raise ConfigError(
            f"optimizer must be a torch optimiser in lower case, or a function of the parameters, not {name!r}"
            f"{suggest(name, known)}"
        )
    build_optimizer(name, [nn.Parameter(torch.zeros(1))], lr=0.1, options=dict(options))


def check_scheduler(name: str, options: Mapping[str, Any], *, where: str = "lr_scheduler") -> None:
    """Raise ConfigError unless torch has this scheduler and it takes these options; ``where`` names the setting."""
    if name not in SCHEDULERS:
        function = ", or a function of the optimiser" if where == "lr_scheduler" else ""
        raise ConfigError(
            f"{where} must be one of {', '.join(sorted(SCHEDULERS))}{function}, not {name!r}{suggest(name, SCHEDULERS)}"
        )
    known = set(inspect.signature(SCHEDULERS[name]).parameters) - {"optimizer", "last_epoch"}
    _check_options(_options_of(where), name, options, known)
    required = [
        key
        for key, parameter in inspect.signature(SCHEDULERS[name]).parameters.items()
        if parameter.default is parameter.empty and key not in ("optimizer", "max_lr", "T_max")
    ]
    if where == "lr_scheduler" and options.keys() >= set(required):
        dummy = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
        _try_scheduler(name, dummy, options, 2, where)


def _options_of(where: str) -> str:
    return where.replace("lr_scheduler", "scheduler") + "_options"


def build_scheduler(
    name: str,
    optimizer: Optimizer,
    options: Mapping[str, Any],
    *,
    length: Callable[[], int],
    max_lr: float,
    where: str = "lr_scheduler",
) -> LRScheduler:
    """Return the scheduler ``name`` of ``optimizer``.

    Args:
        name: one of :data:`SCHEDULERS`.
        optimizer: the optimiser whose rates it sets.
        options: its further arguments.
        length: returns how often it is stepped: CosineAnnealingLR's T_max and OneCycleLR's total_steps, where left out.
        max_lr: the greatest rate of OneCycleLR, where left out.
        where: the setting that named it.

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
    except Exception as error:  # what a value that is none makes a scheduler raise depends on both
        raise ConfigError(f"{_options_of(where)}: {name} refuses {dict(options)}: {error}") from None


def _check_options(where: str, name: str, options: Iterable[str], known: Iterable[str]) -> None:
    for option in options:
        if option not in known:
            raise ConfigError(f"{where}.{option}: {name} has no such option{suggest(option, known)}")
