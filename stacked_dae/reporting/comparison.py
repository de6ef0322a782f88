"""Run folders side by side: the settings in which they differ, their losses and errors."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from stacked_dae.config.identity import NON_IDENTITY_KEYS
from stacked_dae.config.schema import Config
from stacked_dae.errors import ConfigError, suggest
from stacked_dae.reporting.columns import (
    ERRORS,
    TEST,
    TEST_RMSE,
    VALID,
    VALID_RMSE,
    Column,
    Compared,
    baseline_columns,
    columns_of,
    metric_column,
    shown,
)
from stacked_dae.utils.files import write_csv
from stacked_dae.utils.nested import flatten, short_key

# Runs that differ in one of these are judged by different validation rows.
_SAME_ROWS = (
    *("task", "data.name", "data.source", "data.path", "data.target"),
    *("data.split", "data.stratify", "data.groups", "data.order"),
)
# What a run of an earlier version has of a later setting.
_DEFAULTS = flatten(Config().to_dict())


@dataclass(frozen=True)
class TableColumn:
    """A column of the table that a terminal and a page show.

    Args:
        key: its name in :meth:`Comparison.records`.
        title: its header.
        kind: what it holds.
        text: run → what its cell says.
    """

    key: str
    title: str
    kind: Literal["error", "setting", "loss", "other"]
    text: Callable[[Compared], str]


@dataclass(frozen=True)
class Comparison:
    """Runs in order, the settings in which they differ, and their layers (``layer_1`` …)."""

    runs: Sequence[Compared]
    keys: Sequence[str]
    layers: Sequence[str]

    @cached_property
    def best(self) -> Compared | None:
        """The run of the lowest validation error, if all are of one data set: the test error chooses nothing."""
        if self._of_several_data_sets:
            return None
        judged = [run for run in self.runs if run.valid_score is not None]
        return min(judged, key=lambda run: run.valid_score or 0.0, default=None)

    @property
    def _of_several_data_sets(self) -> bool:
        rows = {tuple(str(run.settings.get(key, _DEFAULTS[key])) for key in _SAME_ROWS) for run in self.runs}
        return len(rows) > 1

    @property
    def is_regression(self) -> bool:
        """Whether all runs predict numbers."""
        return all(run.is_regression for run in self.runs)

    @cached_property
    def columns(self) -> list[Column]:
        """The columns beside the settings and the losses: those of every comparison, the measures and the baselines."""
        names = sorted({name for run in self.runs for name in run.metrics})
        return [*columns_of(self.runs), *map(metric_column, names), *baseline_columns(self.runs)]

    @cached_property
    def table_columns(self) -> list[TableColumn]:
        """The columns after the run's name: the errors, which a phone has room for, then settings, losses, the rest."""

        def setting(key: str) -> Callable[[Compared], str]:
            return lambda run: shown(run.settings.get(key), 6)

        def loss(layer: str) -> Callable[[Compared], str]:
            return lambda run: shown(run.losses.get(layer))

        named = [(next(iter(c.values(self.runs[0]))), c) for c in self.columns if c.title]
        return [
            *(TableColumn(key, c.title, "error", c.text) for key, c in named if key in ERRORS),
            *(TableColumn(key, self.short(key), "setting", setting(key)) for key in self.keys),
            *(TableColumn(_loss_key(layer), layer, "loss", loss(layer)) for layer in self.layers),
            *(TableColumn(key, c.title, "other", c.text) for key, c in named if key not in ERRORS),
        ]

    @property
    def why_no_best(self) -> str:
        """Why no run is the best, as a sentence, where none is."""
        several = self._of_several_data_sets
        return (
            "No best run: the runs use different data or splits." if several else "No best run: none is fine-tuned yet."
        )

    @cached_property
    def folder(self) -> str:
        """The folder that all runs are in; empty where there is none."""
        names = [run.name for run in self.runs]
        try:
            return os.path.commonpath([os.path.dirname(name) for name in names]) if all("/" in n for n in names) else ""
        except ValueError:
            # Some are named from the root, some are not.
            return ""

    def label(self, run: Compared) -> str:
        """Return the name of a run within :attr:`folder`."""
        return run.name.removeprefix(f"{self.folder}/") if self.folder else run.name

    def short(self, key: str) -> str:
        """Return the last words of a dotted key that no other of the differing keys ends with."""
        return short_key(key, self.keys)

    def records(self) -> list[dict[str, Any]]:
        """Return a plain row for each run: settings that differ, losses, errors, seconds, state, whether it is best."""
        return [
            {
                "run": run.name,
                **{key: run.settings.get(key) for key in self.keys},
                **{_loss_key(layer): run.losses.get(layer) for layer in self.layers},
                **{name: value for column in self.columns for name, value in column.values(run).items()},
                "best": run is self.best,
            }
            for run in self.runs
        ]


def _loss_key(layer: str) -> str:
    return f"{layer}/valid_loss"


def compare(runs: Sequence[Compared], sort: str | None = None) -> Comparison:
    """Return the comparison of ``runs``, sorted by ``sort``: a column or setting, a minus before it for the reverse.

    Settings outside the experiment's identity, such as the device, are left out.

    Raises:
        ConfigError: unknown column or setting.
    """
    known = list(dict.fromkeys(key for run in runs for key in run.settings if not key.startswith(NON_IDENTITY_KEYS)))
    # An absent setting (of another version) differs from every value.
    keys = [key for key in known if any(run.settings.get(key, ...) != runs[0].settings.get(key, ...) for run in runs)]
    layers = sorted({layer for run in runs for layer in run.losses}, key=lambda name: (len(name), name))
    comparison = Comparison(runs, keys, layers)
    if sort is None:
        return comparison
    valid, test = (VALID_RMSE, TEST_RMSE) if comparison.is_regression else (VALID, TEST)
    column = {"valid": valid, "test": test, "name": "run"}.get(sort.removeprefix("-"), sort.removeprefix("-"))
    rows = comparison.records()
    values = [{**run.settings, **row}.get(column, ...) for run, row in zip(runs, rows, strict=True)]
    if all(value is ... for value in values):
        columns = [*rows[0], *known]
        raise ConfigError(
            f"--sort: there is no column {column!r}{suggest(column, columns)}; such as valid, test, seconds"
        )
    order = sorted(range(len(runs)), key=lambda k: _rank(values[k]), reverse=sort.startswith("-"))
    # What has no value comes last either way.
    order = [k for k in order if values[k] not in (None, ...)] + [k for k in order if values[k] in (None, ...)]
    return Comparison([runs[k] for k in order], keys, layers)


def _rank(value: Any) -> tuple[int, float, str]:
    if isinstance(value, (int, float)):
        return 0, float(value), ""
    return 1, 0.0, str(value)


def write_comparison(comparison: Comparison, file: Path) -> None:
    """Write :meth:`Comparison.records` to ``file`` (CSV)."""
    write_csv(file, comparison.records())
