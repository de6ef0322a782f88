"""All that a table would meet in training, found without training: what ``stacked-dae data check`` shows."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from stacked_dae.config.data_schema import DataConfig
from stacked_dae.config.schema import Task
from stacked_dae.data.columns.errors import list_option
from stacked_dae.data.columns.fitting import RunningMoments, moments_of
from stacked_dae.data.tabular.loading import describe_errors
from stacked_dae.data.tabular.roles import find_inputs, leave_out_identifiers
from stacked_dae.data.tabular.rows import count_labels, read_rows
from stacked_dae.data.tabular.scan import ColumnScan, copies_of_the_target, fit_columns, scan_columns
from stacked_dae.data.tabular.splitting import SPLITS
from stacked_dae.data.tabular.written_file import described, open_data

_MOST_SHOWN = 5
_MOST_MISSING = 0.5


@dataclass(frozen=True)
class ColumnReport:
    """One column of a table.

    Args:
        name: its name.
        role: input, target, split, groups, order, weights, dropped, left out, index, identifier, or refused.
        holds: numbers, names, or numbers and text; empty where it was not looked at.
        missing: rows without a value.
        values: its least, mean and greatest number, or its most common names with their shares, of the training rows.
    """

    name: str
    role: str
    holds: str
    missing: int
    values: str


@dataclass(frozen=True)
class TableReport:
    """What a table holds, and what training would say of it.

    Args:
        path: the file.
        rows: number of rows.
        inputs: number of a network's inputs.
        columns: in the order of the file.
        classes: rows with each value of the target; none of a regression.
        target: the target's least, mean and greatest number in the training rows (regression only).
        splits: training, validation and test rows.
        unlabelled: training rows without a label.
        notices: what is left out, or worth a look; one line each.
        error: why training would be refused; None where it would not.
        command: command line that trains on the table, without the columns that cannot be inputs; None where its rows
            have to be corrected first.
    """

    path: str
    rows: int
    inputs: int
    columns: list[ColumnReport]
    classes: dict[str, int]
    splits: dict[str, int]
    unlabelled: int
    notices: list[str]
    error: str | None
    command: str | None
    target: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values, for JSON."""
        return asdict(self)


def check_table(settings: DataConfig, task: Task = "classification") -> TableReport:
    """Return the report on a table; what is wrong with its columns and rows is in it.

    Args:
        settings: its path, and the roles of its columns and rows.
        task: whether the target names classes or holds numbers.

    Raises:
        ConfigError: a setting names a column that is not there, or that cannot have this role.
        DataError: the file is not readable, or has no rows.
    """
    assert settings.path is not None
    path = Path(settings.path)
    file = open_data(path, settings)
    names, notices = find_inputs(file, settings)
    rows = read_rows(path, file, settings, task)
    scans = scan_columns(path, file, names, settings, rows.splits, rows.labels, len(rows.classes))
    inputs, left_out = leave_out_identifiers(path, names, scans, settings)
    pixels = [name for name in names if name in file.pixels]
    columns, errors, constant = fit_columns(path, file, scans, [*pixels, *inputs], settings)
    notices += constant
    notices += [*left_out, *copies_of_the_target(path, scans, inputs, settings), *described(path, file, inputs)]
    notices += [f"{path}: {notice}" for notice in rows.notices]
    notices += [
        f"{path}: column {name!r} is missing in {100 * scans[name].missing / len(rows):.0f} % of the rows"
        for name in (column.name for column in columns if column.name in scans)
        if scans[name].missing > _MOST_MISSING * len(rows)
    ]
    if settings.target is None and not pixels and len(file.names) > 1:
        notices.append(
            f"{path}: every column is an input, since none is named as the target; where the last one is:"
            f" --target {shlex.quote(file.names[-1])}"
        )
    refused = [error.name for error in errors]
    used = {column.name for column in columns}
    special = dict.fromkeys(settings.drop, "dropped")
    if settings.target is not None:
        special[settings.target] = "target"
    if isinstance(settings.split, str):
        special[settings.split] = "split"
    roles = {"groups": settings.groups, "order": settings.order, "weights": settings.weights}
    special |= {name: role for role, name in roles.items() if name}

    def describe(name: str) -> ColumnReport:
        scan = scans.get(name)
        if name in pixels:
            return ColumnReport(name, "input", "pixels", 0, "")
        if scan is None:
            role = special.get(name, "index" if name in file.indexes and not settings.keep else "left out")
            return ColumnReport(name, role, "", 0, "")
        roles = {"refused": refused, "input": used, "left out": inputs}
        role = next((role for role, those in roles.items() if name in those), "identifier")
        return ColumnReport(name, role, scan.holds, scan.missing, _values(scan))

    message = describe_errors(rows, errors, settings)
    labels = count_labels(rows.labels, len(rows.classes)).tolist()
    return TableReport(
        path=str(path),
        rows=len(rows),
        inputs=sum(len(column.inputs) for column in columns),
        columns=[describe(name) for name in file.names],
        classes=dict(zip(rows.classes, labels, strict=True)),
        splits={name: int((rows.splits == place).sum()) for place, name in enumerate(SPLITS)},
        unlabelled=int((rows.labels < 0).sum()) if rows.classes or rows.targets is not None else 0,
        notices=notices,
        error=None if message is None else f"{path}: {message}",
        command=None if rows.errors else _command(settings, [*settings.drop, *refused], task, images=bool(pixels)),
        target=None if rows.targets is None else _numbers(moments_of(rows.targets[rows.splits == 0])),
    )


def _values(scan: ColumnScan) -> str:
    """Return the values of a column in a few words."""
    if scan.holds_names:
        total = scan.names.total()
        named = [f"{name} {100 * count / total:.0f} %" for name, count in scan.names.most_common(_MOST_SHOWN)]
        rest = len(scan.names) - len(named)
        return ", ".join(named) + (f", and {rest} more" if rest else "")
    return _numbers(scan.moments)


def _numbers(moments: RunningMoments) -> str:
    return f"{moments.low:g} to {moments.high:g}, mean {moments.mean:.4g}" if moments.count else ""


def _command(settings: DataConfig, drop: Sequence[str], task: Task, *, images: bool) -> str:
    """Return a command line that trains on the table."""
    words = ["stacked-dae", "fit" if settings.target is not None else "pretrain"]
    predicts_numbers = task == "regression" and settings.target is not None
    recipe = "regression" if predicts_numbers else "table"
    # The defaults of the settings are those for images.
    words += [] if images else ["--config", recipe]
    words += ["--task", task] if images and predicts_numbers else []
    words += ["--data.path", shlex.quote(str(settings.path))]
    single = {"target": settings.target, "delimiter": settings.delimiter, "decimal": settings.decimal}
    single |= {"groups": settings.groups, "order": settings.order, "weights": settings.weights}
    if isinstance(settings.split, str):
        single["split"] = settings.split
    words += [word for key, value in single.items() if value for word in (f"--data.{key}", shlex.quote(value))]
    if isinstance(settings.split, list) and settings.split != DataConfig().split:
        words += ["--data.split", shlex.quote(str(settings.split))]
    words += [] if settings.header else ["--data.header", "false"]
    words += ["--data.stratify", "true"] if settings.stratify else []
    lists = {
        "keep": settings.keep,
        "drop": drop,
        "categorical": settings.categorical,
        "na_values": settings.na_values,
    }
    words += [list_option(f"data.{key}", names) for key, names in lists.items() if names]
    return " ".join(words)
