"""A run of a comparison, and the columns that every comparison shows of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from stacked_dae.utils.intervals import with_interval

VALID, TEST, INTERVAL = "valid_error_percent", "test_error_percent", "test_error_ci95_percent"
VALID_RMSE, TEST_RMSE = "valid_rmse", "test_rmse"
ERRORS = (VALID, TEST, VALID_RMSE, TEST_RMSE)


@dataclass(frozen=True)
class Compared:
    """One run.

    Args:
        name: its folder, or its W&B group.
        settings: the whole configuration by dotted key.
        losses: validation loss of the last epoch by layer (``layer_1`` …), per example.
        valid_error_percent, test_error_percent, test_error_ci95_percent: None as long as there is none.
        valid_rmse, test_rmse: the same of a regression, in the units of the target.
        n_test: test examples; 0 as long as it was not tested.
        seconds: of its training.
        state: ``done``, or which stage it was cut in.
        histories: by stage, one row per epoch.
        metrics: further measures of the test, by name.
        baselines: test error of each baseline, in percent, or RMSE (regression only), by name.
        facts: what else is known of it, by name: its command, fingerprint and versions.
        filters: a picture of the first layer's filters (PNG), None where there is none.
    """

    name: str
    settings: Mapping[str, Any]
    losses: Mapping[str, float] = field(default_factory=dict)
    valid_error_percent: float | None = None
    test_error_percent: float | None = None
    test_error_ci95_percent: float | None = None
    valid_rmse: float | None = None
    test_rmse: float | None = None
    n_test: int = 0
    seconds: float = 0.0
    state: str = "done"
    histories: Mapping[str, Sequence[Mapping[str, float]]] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    baselines: Mapping[str, float] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)
    filters: bytes | None = None

    @property
    def is_regression(self) -> bool:
        """Whether it predicts numbers."""
        return self.settings.get("task") == "regression"

    @property
    def valid_score(self) -> float | None:
        """The validation error or RMSE, by which the best run is chosen."""
        return self.valid_rmse if self.is_regression else self.valid_error_percent

    @property
    def rmse_text(self) -> str:
        """The test RMSE, or why there is none."""
        if self.test_rmse is None:
            return self.state if self.is_regression and self.state != "done" else shown(None)
        return shown(self.test_rmse, _DIGITS)

    @property
    def test_text(self) -> str:
        """The test error with its interval, or why there is none."""
        if self.is_regression:
            return shown(None)
        if self.test_error_percent is None or self.test_error_ci95_percent is None:
            return self.state if self.state != "done" else shown(None)
        return with_interval(self.test_error_percent, self.test_error_ci95_percent, self.n_test)


# Of an RMSE, in whatever units.
_DIGITS = 4


def shown(value: Any, places: int = 2) -> str:
    """Return a value as a table shows it, floats with at most ``places`` digits; a dash for what is not there."""
    if value is None:
        return "–"
    if isinstance(value, list):
        return f"[{', '.join(shown(item, places) for item in value)}]"
    if isinstance(value, float) and places > 3:
        return f"{value:.{places}g}"
    return f"{value:.{places}f}" if isinstance(value, float) else str(value)


@dataclass(frozen=True)
class Column:
    """A column of every comparison, beside the settings that differ and the losses of the layers.

    Args:
        title: its header in the terminal and on the page; empty for CSV alone.
        values: run → its values in CSV, by name.
        text: run → what the table shows.
    """

    title: str
    values: Callable[[Compared], Mapping[str, Any]]
    text: Callable[[Compared], str]


_ERRORS = (
    Column("valid %", lambda run: {VALID: run.valid_error_percent}, lambda run: shown(run.valid_error_percent)),
    Column(
        "test %",
        lambda run: {TEST: run.test_error_percent, INTERVAL: run.test_error_ci95_percent, "n_test": run.n_test or None},
        lambda run: run.test_text,
    ),
)
_RMSES = (
    Column("valid RMSE", lambda run: {VALID_RMSE: run.valid_rmse}, lambda run: shown(run.valid_rmse, _DIGITS)),
    Column("test RMSE", lambda run: {TEST_RMSE: run.test_rmse}, lambda run: run.rmse_text),
)
_OTHERS = (
    Column("seconds", lambda run: {"seconds": run.seconds}, lambda run: shown(run.seconds, 1)),
    Column("", lambda run: {"state": run.state}, lambda run: run.state),
)


def columns_of(runs: Sequence[Compared]) -> tuple[Column, ...]:
    """Return the columns of these runs, in their order; another one is an entry above."""
    numbers = any(run.is_regression for run in runs)
    errors = not numbers or any(not run.is_regression for run in runs)
    return (*(_ERRORS if errors else ()), *(_RMSES if numbers else ()), *_OTHERS)


_MEASURES = {"mae": "MAE", "r2": "R²"}


def metric_column(name: str) -> Column:
    """Return the column of a further measure of the test."""
    return Column(
        f"test {_MEASURES.get(name, name)}",
        lambda run: {f"test_{name}": run.metrics.get(name)},
        lambda run: shown(run.metrics.get(name), 3),
    )


Unit = Literal["error_percent", "rmse"]
_BASELINE = re.compile(r"baseline_(.+)_(?:error_percent|rmse)")


def baseline_key(name: str, unit: Unit) -> str:
    """Return what W&B and CSV call the test error of a baseline."""
    return f"baseline_{name}_{unit}"


def baseline_of(key: str) -> str | None:
    """Return the baseline whose test error has this key; None for another figure."""
    found = _BASELINE.fullmatch(key)
    return found[1] if found else None


def baseline_columns(runs: Sequence[Compared]) -> list[Column]:
    """Return the columns of the baselines that these runs have."""
    units: dict[bool, tuple[Unit, str, int]] = {True: ("rmse", "RMSE", _DIGITS), False: ("error_percent", "%", 2)}
    found = sorted({(run.is_regression, name) for run in runs for name in run.baselines})
    return [_baseline_column(name, numbers, *units[numbers]) for numbers, name in found]


def _baseline_column(name: str, of_regression: bool, unit: Unit, title: str, places: int) -> Column:
    def value(run: Compared) -> float | None:
        return run.baselines.get(name) if run.is_regression == of_regression else None

    return Column(
        f"{name.replace('_', ' ')} {title}",
        lambda run: {baseline_key(name, unit): value(run)},
        lambda run: shown(value(run), places),
    )
