"""The user's callbacks in a run: which can be used, and by what name each enters a fingerprint."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from functools import partial
from types import FunctionType, MethodType
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning import callbacks as known

from stacked_dae.errors import ConfigError
from stacked_dae.runs.stage_names import FINETUNE

# Lightning's callbacks that only look on: a run with them is the same run.
_OBSERVERS = (
    known.Checkpoint,
    known.DeviceStatsMonitor,
    known.LearningRateMonitor,
    known.ModelSummary,
    known.ProgressBar,
    known.ThroughputMonitor,
)
# Lightning's callbacks for which fit has no place, and what to do instead.
_NO_PLACE = {
    known.BatchSizeFinder: "set pretrain.batch_size and finetune.batch_size",
    known.LearningRateFinder: "set pretrain.optimizer.lr and finetune.optimizer.lr",
    known.BackboneFinetuning: "use FinetuneTask with a Trainer of your own",
}


def of_lightning(callback: pl.Callback) -> bool:
    """Return whether a callback is of a class of Lightning's."""
    return type(callback).__module__.startswith("pytorch_lightning.")


def check_callbacks(callbacks: Sequence[pl.Callback]) -> None:
    """Raise ConfigError for callbacks of Lightning's that have no place in a run."""
    for callback in callbacks:
        for kind, instead in _NO_PLACE.items():
            if isinstance(callback, kind):
                raise ConfigError(f"callbacks: {type(callback).__name__} has no place in fit; {instead}")


def check_logged(callbacks: Sequence[pl.Callback], *, logged: bool) -> None:
    """Raise ConfigError for callbacks of Lightning's that write to a logger, where there is none."""
    for callback in callbacks:
        name = type(callback).__name__
        if isinstance(callback, (known.LearningRateMonitor, known.DeviceStatsMonitor)) and not logged:
            raise ConfigError(f"callbacks: {name} needs a logger; give logger=, or name one in tracking.loggers")


def name_of(callback: pl.Callback, stage: str) -> str | None:
    """Return the name by which a callback enters a fingerprint; None for one that only looks on.

    Raises:
        ConfigError: it has none, or fit cannot keep what it does.
    """
    kind = type(callback)
    if of_lightning(callback) and isinstance(callback, _OBSERVERS):
        return None
    if isinstance(callback, known.StochasticWeightAveraging) and stage == FINETUNE:
        raise ConfigError(
            "callbacks: StochasticWeightAveraging replaces the weights after the last epoch, but fine-tuning keeps"
            " those of the best epoch; leave it out for the stage finetune, or give EMAWeightAveraging"
        )
    own_key = kind.state_key is not pl.Callback.state_key and not of_lightning(callback)
    arguments = {} if own_key else _kept_arguments(callback)
    name = f"{kind.__module__}.{callback.state_key} {_said(arguments)}"
    if " at 0x" in name or "<locals>" in name.split(" ", 1)[0] or "<lambda>" in name:
        raise ConfigError(
            f"callbacks: {kind.__name__} does not say what it is, so a run with it could not be resumed; define its"
            " class in a module, or give it a state_key"
        )
    return name


def _kept_arguments(callback: pl.Callback) -> dict[str, Any]:
    """Return what a callback was made with, as far as it keeps it.

    Raises:
        ConfigError: it keeps an argument under no name that can be found.
    """
    kept = {}
    for name, parameter in inspect.signature(type(callback).__init__).parameters.items():
        if name == "self" or parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        found = next((own for own in (name, f"_{name}") if own in vars(callback)), None)
        if found is not None:
            kept[name] = vars(callback)[found]
        elif of_lightning(callback):
            # An average keeps its decay in the closure of a function.
            kept |= {own: value for own, value in vars(callback).items() if own == "_kwargs" or callable(value)}
        else:
            raise ConfigError(
                f"callbacks: {type(callback).__name__} does not keep its argument {name}, so two of them could not be"
                f" told apart; keep it as self.{name}, or give it a state_key"
            )
    return kept


def _said(value: Any) -> str:
    """Return a value in words that another process would use too."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_said(key)}: {_said(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_said, value)) + "]"
    if isinstance(value, (set, frozenset)):
        return "[" + ", ".join(sorted(map(_said, value))) + "]"
    if isinstance(value, MethodType):
        return f"{_said(type(value.__self__))}.{value.__name__}"
    if isinstance(value, partial):
        return f"{_said(value.func)}({_said(value.args)}, {_said(value.keywords)})"
    if isinstance(value, (FunctionType, type)):
        # A function that another one made has the other's arguments in its closure.
        closure = [cell.cell_contents for cell in getattr(value, "__closure__", None) or ()]
        where = value.__qualname__.replace(".<locals>", "")
        return f"{value.__module__}.{where}{_said(closure) if closure else ''}"
    return repr(value)


def has_state(callback: pl.Callback) -> bool:
    """Return whether a callback keeps something from one training that would be wrong in the next."""
    return type(callback).state_dict is not pl.Callback.state_dict
