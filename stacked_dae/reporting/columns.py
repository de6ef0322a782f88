"""A run of a comparison, and the columns that every comparison shows of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from stacked_dae.utils.intervals import with_interval

VALID, TEST, INTERVAL = "valid_error_percent", "test_error_percent", "test_error_ci95_percent"


@dataclass(frozen=True)
class Compared:
    """One run.

    Args:
        name: its folder, or its W&B group.
        settings: the whole configuration by dotted key.
        losses: validation loss of the last epoch by layer (``layer_1`` …), per example.
        valid_error_percent, test_error_percent, test_error_ci95_percent: None as long as there is none.
        n_test: test examples; 0 as long as it was not tested.
        seconds: of its training.
        state: ``done``, or which stage it was cut in.
        histories: by stage, one row per epoch.
        metrics: further measures of the test, by name.
        baselines: test error of each baseline, in percent, by name.
        filters: a picture of the first layer's filters (PNG), None where there is none.
    """

    name: str
    settings: Mapping[str, Any]
    losses: Mapping[str, float] = field(default_factory=dict)
    valid_error_percent: float | None = None
    test_error_percent: float | None = None
    test_error_ci95_percent: float | None = None
    n_test: int = 0
    seconds: float = 0.0
    state: str = "done"
    histories: Mapping[str, Sequence[Mapping[str, float]]] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    baselines: Mapping[str, float] = field(default_factory=dict)
    filters: bytes | None = None

    @property
    def test_text(self) -> str:
        """The test error with its interval, or why there is none."""
        if self.test_error_percent is None or self.test_error_ci95_percent is None:
            return self.state if self.state != "done" else shown(None)
        return with_interval(self.test_error_percent, self.test_error_ci95_percent, self.n_test)


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


COLUMNS = (
    Column("valid %", lambda run: {VALID: run.valid_error_percent}, lambda run: shown(run.valid_error_percent)),
    Column(
        "test %",
        lambda run: {TEST: run.test_error_percent, INTERVAL: run.test_error_ci95_percent, "n_test": run.n_test or None},
        lambda run: run.test_text,
    ),
    Column("seconds", lambda run: {"seconds": run.seconds}, lambda run: shown(run.seconds, 1)),
    Column("", lambda run: {"state": run.state}, lambda run: run.state),
)
"""The columns, in their order; another one is an entry here."""


def metric_column(name: str) -> Column:
    """Return the column of a further measure of the test."""
    return Column(
        f"test {name}",
        lambda run: {f"test_{name}": run.metrics.get(name)},
        lambda run: shown(run.metrics.get(name), 3),
    )


_BASELINE = "baseline_{}_error_percent"


def baseline_key(name: str) -> str:
    """Return what W&B and CSV call the test error of a baseline."""
    return _BASELINE.format(name)


def baseline_of(key: str) -> str | None:
    """Return the baseline whose test error has this key; None for another figure."""
    before, after = _BASELINE.split("{}")
    return key[len(before) : -len(after)] if key.startswith(before) and key.endswith(after) else None


def baseline_column(name: str) -> Column:
    """Return the column of a baseline."""
    return Column(
        f"{name.replace('_', ' ')} %",
        lambda run: {baseline_key(name): run.baselines.get(name)},
        lambda run: shown(run.baselines.get(name)),
    )
