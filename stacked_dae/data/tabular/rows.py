"""The rows of a table: the class or number of each, its weight, and the split that it is in."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stacked_dae.config.data_schema import DataConfig
from stacked_dae.config.schema import Task
from stacked_dae.data.columns.errors import list_option
from stacked_dae.data.columns.fitting import moments_of
from stacked_dae.data.columns.values import NUMBER
from stacked_dae.data.formats.table_file import TableFile
from stacked_dae.data.tabular.row_reader import RowReader, RowsError
from stacked_dae.data.tabular.splitting import (
    SPLITS,
    UNUSED,
    ranks,
    split_by_chance,
    split_by_class,
    split_by_group,
    split_by_order,
)
from stacked_dae.errors import DataError

_MORE_ROWS = "give more rows of it, or join it to another class"
# So many classes that cannot be learnt are named one by one.
_MOST_NAMED = 8
# Of a target, in standard deviations: its square has to fit float32.
_FAR = 1e15
# Rows that are counted at a time.
_BLOCK = 2**20
_IN_WORDS = dict(zip(SPLITS, ("training", "validation", "test"), strict=True))


@dataclass(frozen=True)
class TableRows:
    """The rows of a table.

    Args:
        classes: the values of the target, in the order of the labels.
        labels: (n,) int64, −1 for a row without a label; of a regression 0 for one with a target.
        splits: (n,) uint8, the place in SPLITS, or UNUSED; 0 for all where ``errors`` leave none to deal out.
        errors: why the rows cannot be learnt from, each one line without the file's name.
        notices: what of them is not used, each one line without the file's name.
        targets: (n,) float64, NaN for a row without a target (regression only).
        weights: (n,) float64, how much the label of each row counts; None where all count alike.
    """

    classes: list[str]
    labels: NDArray[np.int64]
    splits: NDArray[np.uint8]
    errors: list[str]
    notices: list[str] = field(default_factory=list)
    targets: NDArray[np.float64] | None = None
    weights: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.labels)


def read_rows(path: Path, file: TableFile, settings: DataConfig, task: Task = "classification") -> TableRows:
    """Read the columns of the target and of the split.

    Args:
        path: the file, for errors.
        file: the table.
        settings: the roles of its columns.
        task: whether the target names classes or holds numbers.

    Raises:
        DataError: the file is damaged, or has no rows.
    """
    if isinstance(settings.split, str) and settings.split in file.unusable:
        what = f"column {settings.split!r} holds {file.unusable[settings.split]}"
        raise DataError(f"{path}: {what}, but data.split names a column that says {', '.join(SPLITS)}")
    predicts_numbers = task == "regression" and settings.target is not None
    reader = RowReader(settings, predicts_numbers=predicts_numbers)
    reader.read(file)
    if not reader.count:
        raise DataError(f"{path}: it has no rows")
    none = np.full(reader.count, -1, np.int64)
    splits = np.zeros(reader.count, np.uint8)
    targets = None
    classes: list[str] = []
    try:
        if predicts_numbers:
            targets = reader.targets()
            labels = np.where(np.isnan(targets), -1, 0).astype(np.int64)
        elif settings.target is not None:
            classes, labels = reader.labels()
        else:
            labels = none
    except RowsError as error:
        return TableRows([], none, splits, [str(error)])
    try:
        splits, weights = _assign_splits(settings, labels, reader), reader.weights(labels)
    except RowsError as error:
        return TableRows(classes, labels, splits, [str(error)], targets=targets)
    unused = int((splits == UNUSED).sum())
    by = f"data.groups {settings.groups}" if settings.groups is not None else f"data.order {settings.order}"
    notices = [f"{unused} rows without a label are not used, since by {by} they belong to validation or test rows"]
    errors = _rare_classes(settings, classes, labels, splits)
    if targets is not None:
        errors = _wrong_targets(str(settings.target), targets, splits)
    if weights is not None and not (weights[(splits == 0) & (labels >= 0)] > 0.0).any():
        errors.append(f"column {settings.weights!r} is 0 for every labelled training row, so nothing counts")
    return TableRows(classes, labels, splits, errors, notices * (unused > 0), targets, weights)


def count_labels(labels: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    """Return how many rows have each label, (classes,); −1 does not count."""
    found = np.zeros(classes, np.int64)
    for start in range(0, len(labels), _BLOCK):
        found += np.bincount(labels[start : start + _BLOCK] + 1, minlength=classes + 1)[1:]
    return found


def _assign_splits(settings: DataConfig, labels: NDArray[np.int64], reader: RowReader) -> NDArray[np.uint8]:
    """Return the split of each row.

    No run's seed decides where a row goes, and no label does unless data.stratify says so.
    """
    part = np.zeros(reader.count, np.uint8)
    labelled = (labels >= 0) | (settings.target is None)
    if reader.empty is not None:
        raise RowsError(
            f"column {settings.groups or settings.order!r}, row {reader.empty} is empty, so its split is not known;"
            " fill it, or leave the row out"
        )
    if isinstance(settings.split, str):
        part = np.concatenate(reader.parts)
        wrong = np.flatnonzero(part == len(SPLITS))
        if len(wrong):
            raise RowsError(f"column {settings.split!r}, row {wrong[0] + 1} must be one of {', '.join(SPLITS)}")
        empty = np.flatnonzero((part > 0) & ~labelled)
        if len(empty):
            name = SPLITS[part[empty[0]]]
            raise RowsError(f"row {empty[0] + 1} is a {name} row, but column {settings.target!r} is empty there")
    elif settings.groups is not None:
        groups = np.unique(np.array(reader.names), return_inverse=True)[1].astype(np.int64)
        part = split_by_group(groups, labelled, settings.split)
    elif settings.order is not None:
        keys = ranks(reader.names)
        if isinstance(keys, int):
            raise RowsError(
                f"column {settings.order!r}, row {keys + 1} is {reader.names[keys]!r}; data.order needs numbers alone,"
                " or dates such as 2026-11-29 alone"
            )
        part = split_by_order(keys, labelled, settings.split)
    elif settings.stratify:
        part = split_by_class(labels, settings.split)
    else:
        part = split_by_chance(labelled, settings.split)
    what = f"{reader.count} rows"
    if settings.groups is not None:
        what = f"the {len(set(reader.names))} groups of column {settings.groups!r}"
    for which, name in enumerate(SPLITS):
        wanted = isinstance(settings.split, str) or settings.split[which] > 0.0
        if wanted and not (part == which).any():
            raise RowsError(f"{what} are too few for a {_IN_WORDS[name]} row; give more, or other shares (data.split)")
    return part


def _rare_classes(
    settings: DataConfig, classes: list[str], labels: NDArray[np.int64], splits: NDArray[np.uint8]
) -> list[str]:
    """Return what is wrong with the classes that have no training row, or no other."""
    counts = count_labels(labels, len(classes))
    learnt = count_labels(np.where(splits == 0, labels, -1), len(classes))
    by_chance = isinstance(settings.split, list) and settings.groups is None and settings.order is None
    found: list[tuple[str, str, str]] = []
    for label, name in enumerate(classes):
        rows = int(counts[label])
        how_many = "one row" if rows == 1 else f"{rows} rows"
        if not learnt[label] and rows > 1 and by_chance:
            remedy = "deal them class by class: --data.stratify true"
            found.append((name, f"{how_many} of class {name!r}, but no training row", remedy))
        elif not learnt[label]:
            found.append((name, f"{how_many} of class {name!r}, but no training row", _MORE_ROWS))
        elif rows == 1 and settings.split != [1.0, 0.0, 0.0]:
            found.append((name, f"one row of class {name!r}, too few to learn and to test", _MORE_ROWS))
    column = f"column {settings.target!r} has"
    if len(found) <= _MOST_NAMED:
        return [f"{column} {what}; {remedy}" for _, what, remedy in found]
    numbers = all(NUMBER.fullmatch(name) for name in classes)
    return [
        f"{column} {len(classes)} classes, of which {len(found)} have too few rows to learn and to test, such as"
        f" {found[0][0]!r}; give more rows of them, or join them to others"
        + ("; to predict numbers: --config regression" if numbers else "")
    ]


def _wrong_targets(name: str, targets: NDArray[np.float64], splits: NDArray[np.uint8]) -> list[str]:
    """Return what is wrong with the numbers to predict, (n,)."""
    moments = moments_of(targets[splits == 0])
    column = f"column {name!r}"
    if not moments.count:
        return [f"{column} has no value in any training row; give some, or another split"]
    if moments.low == moments.high:
        return [f"{column} is {moments.low:g} in every training row that has a value, so there is nothing to predict"]
    if not (np.isfinite(moments.deviation) and moments.deviation > 0.0):
        return [f"{column} spans {moments.low:g} to {moments.high:g}, which cannot be scaled; give it in another unit"]
    with np.errstate(invalid="ignore"):
        far = np.flatnonzero(np.abs(targets - moments.mean) > _FAR * moments.deviation)
    if not len(far):
        return []
    row, value = far[0] + 1, targets[far[0]]
    return [
        f"{column}, row {row} is {value:g}, too far from the training rows; correct it, or, if it stands for a missing"
        f" value: {list_option('data.na_values', [f'{value:.15g}'])}"
    ]
