"""The arguments of Lightning's Trainer that a run takes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.profilers import Profiler

from stacked_dae.errors import ConfigError, suggest

# Trainer arguments by what they must be; those that change no weight, then those that can.
_SILENT: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    "benchmark": ("True or False", lambda v: isinstance(v, bool)),
    "detect_anomaly": ("True or False", lambda v: isinstance(v, bool)),
    "enable_model_summary": ("True or False", lambda v: isinstance(v, bool)),
    "log_every_n_steps": ("a whole number of at least 1", lambda v: _whole(v, 1)),
    "profiler": (
        "simple, advanced, pytorch or a Profiler",
        lambda v: v in ("simple", "advanced", "pytorch") or isinstance(v, Profiler),
    ),
}
_CHANGING: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    "accumulate_grad_batches": ("a whole number of at least 1", lambda v: _whole(v, 1)),
    "deterministic": ("True, False or warn", lambda v: isinstance(v, bool) or v == "warn"),
    "gradient_clip_algorithm": ("norm or value", lambda v: v in ("norm", "value")),
    "limit_train_batches": (
        "a whole number of at least 1, or a share above 0 and at most 1",
        lambda v: _whole(v, 1) or (isinstance(v, float) and 0.0 < v <= 1.0),
    ),
    "min_epochs": ("a whole number of at least 1", lambda v: _whole(v, 1)),
}


def _whole(value: Any, low: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= low


# Where a Trainer argument that fit decides is set instead.
_ELSEWHERE = {
    "accelerator": "set trainer.accelerator",
    "precision": "set trainer.precision",
    "gradient_clip_val": "set trainer.gradient_clip_val",
    "max_time": "set trainer.max_time",
    "max_epochs": "set pretrain.epochs and finetune.epochs",
    "callbacks": "give fit callbacks=",
    "logger": "give fit logger=",
    "devices": "start the command with torchrun",
    "num_nodes": "start the command with torchrun",
    "strategy": "start the command with torchrun",
    "enable_checkpointing": "the run folder keeps the checkpoints",
    "enable_progress_bar": "give fit progress=, or a progress bar in callbacks=",
}


def trainer_arguments(value: Any) -> dict[str, Any]:
    """Return what the user gave as Trainer arguments, checked.

    Raises:
        ConfigError: it is no mapping, or fit cannot use an argument or its value.
    """
    if value is None:
        return {}
    if isinstance(value, pl.Trainer):
        raise ConfigError(
            "trainer must be Trainer arguments, such as {'accumulate_grad_batches': 4}, or a function of the stage's"
            " name that returns them, not a Trainer: one Trainer trains one stage"
        )
    if not isinstance(value, Mapping):
        raise ConfigError(f"trainer must be a dictionary of Trainer arguments, not {type(value).__name__}")
    usable = {**_SILENT, **_CHANGING}
    for key, given in value.items():
        if key in _ELSEWHERE:
            raise ConfigError(f"trainer: fit decides {key}; {_ELSEWHERE[key]}")
        if key not in inspect.signature(pl.Trainer.__init__).parameters:
            raise ConfigError(f"trainer: Lightning's Trainer has no {key}{suggest(str(key), usable)}")
        if key not in usable:
            raise ConfigError(
                f"trainer: fit takes {', '.join(sorted(usable))}, not {key}; for it use PretrainTask and FinetuneTask"
                " with a Trainer of your own"
            )
        words, fits = usable[key]
        if given is not None and not fits(given):
            raise ConfigError(f"trainer.{key} must be {words}, not {given!r}")
    return {key: given for key, given in value.items() if given is not None}


def changing(arguments: Mapping[str, Any]) -> list[str]:
    """Return those arguments that can change what is trained, as words."""
    return [f"trainer.{key}={arguments[key]!r}" for key in sorted(arguments) if key in _CHANGING]
