"""What the user brings to a run of Lightning's: callbacks, loggers, Trainer arguments and metrics."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning import callbacks as known
from pytorch_lightning.loggers import Logger
from torchmetrics import Metric, MetricCollection

from stacked_dae.errors import ConfigError, lightning_hint, suggest
from stacked_dae.runs.stage_names import FINETUNE

# Each a value for every stage, or a function of the stage's name: layer_1 … or finetune.
CallbacksLike = pl.Callback | Sequence[pl.Callback] | Callable[[str], pl.Callback | Sequence[pl.Callback] | None] | None
LoggersLike = Logger | Sequence[Logger] | bool | Callable[[str], Logger | Sequence[Logger] | bool | None] | None
ArgumentsLike = Mapping[str, Any] | Callable[[str], Mapping[str, Any] | None] | None
_Metrics = Metric | MetricCollection | Sequence[Metric] | Mapping[str, Metric]
MetricsLike = _Metrics | Callable[[str], _Metrics | None] | None

# Lightning's callbacks that only look on: a run with them is the same run.
_OBSERVERS = (
    known.Checkpoint,
    known.DeviceStatsMonitor,
    known.LearningRateMonitor,
    known.ModelSummary,
    known.ProgressBar,
    known.ThroughputMonitor,
)
# Trainer arguments that change no weight.
_SILENT = (
    "benchmark",
    "detect_anomaly",
    "enable_model_summary",
    "log_every_n_steps",
    "profiler",
)
# Trainer arguments that can change what is trained.
_CHANGING = ("accumulate_grad_batches", "deterministic", "gradient_clip_algorithm", "limit_train_batches", "min_epochs")
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
    "enable_progress_bar": "give fit reporter=, or a progress bar in callbacks=",
}


@dataclass(frozen=True)
class StageParts:
    """What the user brings to one stage.

    Args:
        callbacks: Lightning's callbacks.
        loggers: Lightning's loggers.
        arguments: arguments of the Trainer.
        names: what of these can change the training, by name.
    """

    callbacks: tuple[pl.Callback, ...] = ()
    loggers: tuple[Logger, ...] = ()
    arguments: Mapping[str, Any] = field(default_factory=dict)
    names: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing that a training in chunks leaves out."""
        return not self.callbacks and not self.arguments


class LightningParts:
    """What the user brings to a run; each part a value, or a function of the stage's name, called once for each.

    Args:
        callbacks: a callback, or several.
        logger: a logger, or several, beside those of the settings.
        trainer: further arguments of the Trainer.
        metrics: torchmetrics. A value is used in fine-tuning, on logits and labels; a function may also return some for
            a layer, on reconstructions and clean inputs.
    """

    def __init__(
        self,
        callbacks: CallbacksLike = None,
        logger: LoggersLike = None,
        trainer: ArgumentsLike = None,
        metrics: MetricsLike = None,
    ) -> None:
        self._callbacks, self._logger, self._trainer, self._metrics = callbacks, logger, trainer, metrics
        self._stages: dict[str, StageParts] = {}

    def check(self, stages: Iterable[str]) -> None:
        """Raise ConfigError where a part is of the wrong kind, cannot be used, or cannot name itself."""
        used: dict[int, str] = {}
        for stage in stages:
            parts = self.of(stage)
            for callback in parts.callbacks:
                first = used.setdefault(id(callback), stage)
                if first != stage and _has_state(callback):
                    name = type(callback).__name__
                    raise ConfigError(
                        f"callbacks: one {name} is given for {first} and for {stage}, but it has ended with the first;"
                        f" give a function that makes a new one, such as lambda stage: [{name}(…)]"
                    )
            self.metrics_of(stage)

    def of(self, stage: str) -> StageParts:
        """Return the callbacks, loggers and Trainer arguments of a stage.

        Raises:
            ConfigError: as for :meth:`check`.
        """
        if stage not in self._stages:
            callbacks = _listed("callbacks", _value(self._callbacks, stage), pl.Callback)
            arguments = _arguments(_value(self._trainer, stage))
            names = [name for callback in callbacks if (name := _name(callback, stage))]
            names += [f"trainer.{key}={arguments[key]!r}" for key in sorted(arguments) if key in _CHANGING]
            self._stages[stage] = StageParts(tuple(callbacks), _loggers(self._logger, stage), arguments, tuple(names))
        return self._stages[stage]

    def names(self, stage: str) -> tuple[str, ...]:
        """Return what can change the stage's training, by name."""
        return self.of(stage).names

    def metrics_of(self, stage: str) -> MetricCollection | None:
        """Return the metrics of a stage."""
        value = self._metrics
        if isinstance(value, (Metric, MetricCollection)) or not callable(value):
            value = value if stage == FINETUNE else None
        else:
            value = value(stage)
        if value is None or isinstance(value, MetricCollection):
            return value
        try:
            return MetricCollection([value] if isinstance(value, Metric) else value)  # type: ignore[arg-type]
        except (TypeError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise ConfigError(f"metrics must be torchmetrics, one, several or by name: {reason}") from None


def _value(part: Any, stage: str) -> Any:
    """Return a part's value for a stage."""
    return part(stage) if callable(part) else part


def _loggers(part: LoggersLike, stage: str) -> tuple[Logger, ...]:
    value = _value(part, stage)
    if value is True:
        raise ConfigError("logger must be a logger or several, not True; name one in tracking.loggers, such as csv")
    return tuple(_listed("logger", None if value is False else value, Logger))


def _listed(what: str, value: Any, kind: Any) -> list[Any]:
    if value is None:
        return []
    found = [value] if isinstance(value, kind) else value
    if not isinstance(found, (list, tuple)) or not all(isinstance(item, kind) for item in found):
        got = type(found).__name__ if not isinstance(found, (list, tuple)) else [type(item).__name__ for item in found]
        hint = next((hint for item in [found, *_items(found)] if (hint := lightning_hint(item))), "")
        raise ConfigError(
            f"{what} must be of Lightning's {kind.__name__}, one or several, or a function of the stage's name that"
            f" returns them, not {got}{hint}"
        )
    return list(found)


def _items(value: Any) -> Sequence[Any]:
    return value if isinstance(value, (list, tuple)) else ()


def _arguments(value: Any) -> dict[str, Any]:
    if value is None:
        return {}
    if isinstance(value, pl.Trainer):
        raise ConfigError(
            "trainer must be Trainer arguments, such as {'accumulate_grad_batches': 4}, or a function of the stage's"
            " name that returns them, not a Trainer: one Trainer trains one stage"
        )
    if not isinstance(value, Mapping):
        raise ConfigError(f"trainer must be a dictionary of Trainer arguments, not {type(value).__name__}")
    usable = (*_SILENT, *_CHANGING)
    for key in value:
        if key in _ELSEWHERE:
            raise ConfigError(f"trainer: fit decides {key}; {_ELSEWHERE[key]}")
        if key not in inspect.signature(pl.Trainer.__init__).parameters:
            raise ConfigError(f"trainer: Lightning's Trainer has no {key}{suggest(str(key), usable)}")
        if key not in usable:
            raise ConfigError(
                f"trainer: fit takes {', '.join(sorted(usable))}, not {key}; for it use PretrainTask and FinetuneTask"
                " with a Trainer of your own"
            )
    return dict(value)


def _name(callback: pl.Callback, stage: str) -> str | None:
    """Return the name by which a callback enters a fingerprint; None for one that only looks on.

    Raises:
        ConfigError: it has none, or fit cannot keep what it does.
    """
    kind = type(callback)
    of_lightning = kind.__module__.startswith("pytorch_lightning.")
    if of_lightning and isinstance(callback, _OBSERVERS):
        return None
    if isinstance(callback, known.StochasticWeightAveraging) and stage == FINETUNE:
        raise ConfigError(
            "callbacks: StochasticWeightAveraging replaces the weights after the last epoch, but fine-tuning keeps"
            " those of the best epoch; leave it out for the stage finetune, or give EMAWeightAveraging"
        )
    # Arguments that the callback keeps under their own names.
    arguments = {
        name: vars(callback)[name]
        for name in inspect.signature(kind.__init__).parameters
        if isinstance(vars(callback).get(name, ...), (bool, int, float, str, type(None)))
    }
    name = f"{kind.__module__}.{callback.state_key} {arguments}"
    if " at 0x" in name or "<locals>" in name or "<lambda>" in name:
        raise ConfigError(
            f"callbacks: {kind.__name__} does not say what it is, so a run with it could not be resumed; define its"
            " class in a module, or give it a state_key"
        )
    return name


def _has_state(callback: pl.Callback) -> bool:
    """Return whether a callback keeps something from one training that would be wrong in the next."""
    return type(callback).state_dict is not pl.Callback.state_dict
