"""What the user brings to a run of Lightning's: callbacks, loggers, Trainer arguments and metrics."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.loggers import Logger
from torchmetrics import Metric, MetricCollection

from stacked_dae.errors import ConfigError, lightning_hint, suggest
from stacked_dae.pipeline.callbacks import check_callbacks, check_logged, has_state, name_of, of_lightning
from stacked_dae.pipeline.trainer_arguments import changing, trainer_arguments
from stacked_dae.runs.stage_names import FINETUNE

# Each a value for every stage, or a function of the stage's name: layer_1 … or finetune.
CallbacksLike = pl.Callback | Sequence[pl.Callback] | Callable[[str], pl.Callback | Sequence[pl.Callback] | None] | None
LoggersLike = Logger | Sequence[Logger] | bool | Callable[[str], Logger | Sequence[Logger] | bool | None] | None
ArgumentsLike = Mapping[str, Any] | Callable[[str], Mapping[str, Any] | None] | None
_Metrics = Metric | MetricCollection | Sequence[Metric] | Mapping[str, Metric]
MetricsLike = _Metrics | Callable[[str], _Metrics | None] | None


@dataclass(frozen=True)
class StageParts:
    """What the user brings to one stage.

    Args:
        callbacks: Lightning's callbacks.
        loggers: Lightning's loggers.
        arguments: arguments of the Trainer.
        metrics: torchmetrics.
        names: what of these can change the training, by name.
    """

    callbacks: tuple[pl.Callback, ...] = ()
    loggers: tuple[Logger, ...] = ()
    arguments: Mapping[str, Any] = field(default_factory=dict)
    metrics: MetricCollection | None = None
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

    def check(self, figures: Mapping[str, Iterable[str]], *, logged: bool) -> None:
        """Raise ConfigError where a part is of the wrong kind, cannot be used, or cannot name itself.

        Args:
            figures: the names of each stage's figures, by stage.
            logged: whether the settings name a logger.
        """
        used: dict[int, str] = {}
        for stage, names in figures.items():
            parts = self.of(stage)
            check_logged(parts.callbacks, logged=logged or bool(parts.loggers))
            own = any(not of_lightning(callback) for callback in parts.callbacks)
            for callback in parts.callbacks:
                first = used.setdefault(id(callback), stage)
                name = type(callback).__name__
                if first != stage and has_state(callback):
                    raise ConfigError(
                        f"callbacks: one {name} is given for {first} and for {stage}, but it has ended with the first;"
                        f" give a function that makes a new one, such as lambda stage: [{name}(…)]"
                    )
                monitor = getattr(callback, "monitor", None)
                # What callbacks of the user's log is not known before.
                if isinstance(monitor, str) and not own and monitor not in names:
                    raise ConfigError(
                        f"callbacks: {name} monitors {monitor!r}, but {stage} has {', '.join(names)}"
                        f"{suggest(monitor, names)}"
                    )

    def of(self, stage: str) -> StageParts:
        """Return the parts of a stage.

        Raises:
            ConfigError: as for :meth:`check`.
        """
        if stage not in self._stages:
            callbacks = _listed("callbacks", _value(self._callbacks, stage), pl.Callback)
            loggers = _loggers(self._logger, stage)
            check_callbacks(callbacks)
            arguments = trainer_arguments(_value(self._trainer, stage))
            names = [name for callback in callbacks if (name := name_of(callback, stage))]
            names += changing(arguments)
            self._stages[stage] = StageParts(
                tuple(callbacks), loggers, arguments, _metrics(self._metrics, stage), tuple(names)
            )
        return self._stages[stage]

    def names(self, stage: str) -> tuple[str, ...]:
        """Return what can change the stage's training, by name."""
        return self.of(stage).names


def _value(part: Any, stage: str) -> Any:
    """Return a part's value for a stage."""
    if isinstance(part, type):
        raise ConfigError(f"{part.__name__} is a class; make one, such as lambda stage: {part.__name__}(…)")
    return part(stage) if callable(part) else part


def _loggers(part: LoggersLike, stage: str) -> tuple[Logger, ...]:
    value = _value(part, stage)
    if value is True:
        raise ConfigError("logger must be a logger or several, not True; name one in tracking.loggers, such as csv")
    return tuple(_listed("logger", None if value is False else value, Logger))


def _metrics(value: Any, stage: str) -> MetricCollection | None:
    if isinstance(value, type):
        raise ConfigError(f"metrics: {value.__name__} is a class; make one, such as {value.__name__}(…)")
    if isinstance(value, (Metric, MetricCollection)) or not callable(value):
        value = value if stage == FINETUNE else None
    else:
        value = value(stage)
    if value is None:
        return None
    given: Any = [value] if isinstance(value, (Metric, MetricCollection)) else value
    try:
        found = MetricCollection(given)
    except (TypeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"metrics must be torchmetrics, one, several or by name: {reason}") from None
    for name in map(str, found):
        if name in ("loss", "error_percent"):
            raise ConfigError(f"metrics: {name} is the stage's own; give the metric another name")
        if re.search(r'[,"/\s]', name):
            raise ConfigError(f"metrics: {name!r} must be a name without spaces, commas, quotes and slashes")
    return found


def _listed(what: str, value: Any, kind: Any) -> list[Any]:
    if value is None:
        return []
    found = [value] if isinstance(value, kind) else value
    if not isinstance(found, (list, tuple)) or not all(isinstance(item, kind) for item in found):
        got = type(found).__name__ if not isinstance(found, (list, tuple)) else [type(item).__name__ for item in found]
        items = found if isinstance(found, (list, tuple)) else [found]
        hint = next((hint for item in items if (hint := lightning_hint(item))), "")
        raise ConfigError(
            f"{what} must be of Lightning's {kind.__name__}, one or several, or a function of the stage's name that"
            f" returns them, not {got}{hint}"
        )
    return list(found)
