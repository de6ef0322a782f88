"""The rows of a table: the class of each, and the split that it is in."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stacked_dae.config.data_schema import DataConfig
from stacked_dae.config.schema import Task
from stacked_dae.data.columns.fitting import moments_of
from stacked_dae.data.columns.values import NUMBER, Values, first_wrong
from stacked_dae.data.formats.table_file import TableFile
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

_WHOLE = re.compile(r"-?\d+", re.ASCII)
# A label is a number that fits a file's 64 bits.
_LARGEST_LABEL = 2**63 - 1
_TARGET_IS = "names classes, by text or whole numbers"
# So many classes that cannot be learnt are named one by one.
_MOST_NAMED = 8
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
    reader = _Reader(settings, predicts_numbers=predicts_numbers)
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
    except _RowsError as error:
        return TableRows([], none, splits, [str(error)])
    try:
        splits, weights = _assign_splits(settings, labels, reader), reader.weights()
    except _RowsError as error:
        return TableRows(classes, labels, splits, [str(error)], targets=targets)
    unused = int((splits == UNUSED).sum())
    by = f"data.groups {settings.groups}" if settings.groups is not None else f"data.order {settings.order}"
    notices = [f"{unused} rows without a label are not used, since by {by} they belong to validation or test rows"]
    errors = _rare_classes(settings, classes, labels, splits)
    if targets is not None and not moments_of(targets[splits == 0]).deviation > 0.0:
        errors = [f"column {settings.target!r} has one value only in the training rows, so there is nothing to predict"]
    if weights is not None and not (weights[(splits == 0) & (labels >= 0)] > 0.0).any():
        errors.append(f"column {settings.weights!r} is 0 for every labelled training row, so nothing counts")
    return TableRows(classes, labels, splits, errors, notices * (unused > 0), targets, weights)


def count_labels(labels: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    """Return how many rows have each label, (classes,); −1 does not count."""
    found = np.zeros(classes, np.int64)
    for start in range(0, len(labels), _BLOCK):
        found += np.bincount(labels[start : start + _BLOCK] + 1, minlength=classes + 1)[1:]
    return found


class _RowsError(Exception):
    """The rows cannot be labelled, or dealt out."""


class _Reader:
    """Reads the target and the split, as text, but for the numbers of a regression."""

    def __init__(self, settings: DataConfig, *, predicts_numbers: bool) -> None:
        self._predicts_numbers = predicts_numbers
        self._numbers: list[NDArray[np.float64]] = []
        self._target = settings.target
        self._split = settings.split if isinstance(settings.split, str) else None
        self._together = settings.groups if settings.groups is not None else settings.order
        self._labels: list[NDArray[np.int32]] = []
        # The classes in the order in which they came.
        self._classes: dict[str, int] = {}
        self._error: _RowsError | None = None
        self.parts: list[NDArray[np.uint8]] = []
        self.empty: int | None = None
        """The first row without a group, or a place in the order; from 1."""
        self.names: list[str] = []
        """Of the group of each row, or its place in the order."""
        self.count = 0
        self._weighted = settings.weights
        self._weights: list[NDArray[np.float64]] = []
        self._weights_error: _RowsError | None = None

    def read(self, file: TableFile) -> None:
        """Go through the file."""
        if self._target is not None and self._target in file.unusable:
            what = f"column {self._target!r} holds {file.unusable[self._target]}"
            wanted_is = "holds numbers (task regression)" if self._predicts_numbers else _TARGET_IS
            self._error = _RowsError(f"{what}, but the target {wanted_is}")
        columns = (self._target, self._split, self._weighted)
        wanted = [name for name in columns if name is not None and name not in file.unusable]
        if self._together is not None:
            wanted = [*wanted, self._together]
        # One column is enough to count the rows.
        wanted = wanted or [name for name in file.names if name not in file.unusable][:1]
        numbers = [self._weighted, *([self._target] if self._predicts_numbers else [])]
        texts = [name for name in wanted if name not in numbers]
        for values in file.batches(wanted, texts):
            if self._target is not None and self._error is None:
                try:
                    if self._predicts_numbers:
                        self._numbers.append(self._checked_numbers(values[self._target]))
                    else:
                        self._labels.append(self._numbered(values[self._target]))
                except _RowsError as error:
                    # The file is read to its end: how many rows it has is wanted all the same.
                    self._error = error
            if self._weighted is not None and self._weights_error is None:
                try:
                    self._weights.append(self._checked_weights(values[self._weighted]))
                except _RowsError as error:
                    self._weights_error = error
            if self._split is not None:
                places = {name: place for place, name in enumerate(SPLITS)}
                self.parts.append(np.array([places.get(v, len(SPLITS)) for v in values[self._split]], np.uint8))
            if self._together is not None:
                missing = next((at for at, name in enumerate(values[self._together]) if name is None), None)
                if missing is not None and self.empty is None:
                    self.empty = self.count + missing + 1
                self.names += [name or "" for name in values[self._together]]
            self.count += len(next(iter(values.values())))

    def _numbered(self, labels: Values) -> NDArray[np.int32]:
        """Return labels as places in ``_classes``, −1 for missing ones; a new one is looked at once."""
        for row, value in enumerate(labels, self.count + 1):
            if value is not None and value not in self._classes:
                self._check_label(value, row)
                self._classes[value] = len(self._classes)
        return np.array([-1 if value is None else self._classes[value] for value in labels], np.int32)

    def _checked_numbers(self, values: Values) -> NDArray[np.float64]:
        """Return targets, NaN for missing ones."""
        wrong = first_wrong(values)
        if wrong is not None:
            at, what = wrong
            raise _RowsError(
                f"column {self._target!r}, row {self.count + at + 1} is {what}; task regression predicts numbers:"
                " correct it, or leave the row out"
            )
        return values

    def _checked_weights(self, values: Values) -> NDArray[np.float64]:
        """Return weights; what is missing or negative is none."""
        wrong = first_wrong(values)
        if wrong is None and not (values >= 0.0).all():
            at = int((~(values >= 0.0)).argmax())
            wrong = at, "empty" if np.isnan(values[at]) else f"{values[at]:g}, which is negative"
        if wrong is None:
            return values
        at, what = wrong
        raise _RowsError(
            f"column {self._weighted!r}, row {self.count + at + 1} is {what}; weights are numbers of at least 0:"
            " correct it, or leave the row out"
        )

    def weights(self) -> NDArray[np.float64] | None:
        """Return the weight of each row, (n,); None without a column of them."""
        if self._weights_error is not None:
            raise self._weights_error
        return np.concatenate(self._weights) if self._weighted is not None else None

    def targets(self) -> NDArray[np.float64]:
        """Return the number of each row, (n,), NaN where it has none."""
        if self._error is not None:
            raise self._error
        targets = np.concatenate(self._numbers)
        if np.isnan(targets).all():
            raise _RowsError(f"column {self._target!r} has no value in any row")
        return targets

    def _check_label(self, value: str, row: int) -> None:
        if not NUMBER.fullmatch(value):
            return
        where = f"column {self._target!r}, row {row} is {value}"
        if not _WHOLE.fullmatch(value) and not float(value).is_integer():
            raise _RowsError(f"{where}, but the target {_TARGET_IS}; to predict numbers: --task regression")
        if abs(int(value) if _WHOLE.fullmatch(value) else float(value)) > _LARGEST_LABEL:
            raise _RowsError(f"{where}, a number too large for a class")

    def labels(self) -> tuple[list[str], NDArray[np.int64]]:
        """Return the classes and the label of each row, −1 where it has none."""
        if self._error is not None:
            raise self._error
        found = self._classes
        if len(found) < 2:
            what = f"one class only ({next(iter(found))!r})" if found else "no value in any row"
            raise _RowsError(f"column {self._target!r} has {what}; fine-tuning needs two or more classes")
        # Text such as 007 beside 7 has an order, but is no number.
        whole = all(_WHOLE.fullmatch(value) and str(int(value)) == value for value in found)
        classes = sorted(found, key=int) if whole else sorted(found)
        # From the order in which they came to their own; the last place is that of no label.
        label = np.empty(len(found) + 1, np.int64)
        label[[found[name] for name in classes]] = np.arange(len(classes))
        label[-1] = -1
        # Block by block: millions of rows are not held twice.
        labels = np.empty(self.count, np.int64)
        start = 0
        while self._labels:
            block = self._labels.pop(0)
            labels[start : start + len(block)] = label[block]
            start += len(block)
        return classes, labels


def _assign_splits(settings: DataConfig, labels: NDArray[np.int64], reader: _Reader) -> NDArray[np.uint8]:
    """Return the split of each row.

    No run's seed decides where a row goes, and no label does unless data.stratify says so.
    """
    part = np.zeros(reader.count, np.uint8)
    labelled = (labels >= 0) | (settings.target is None)
    if reader.empty is not None:
        raise _RowsError(
            f"column {settings.groups or settings.order!r}, row {reader.empty} is empty, so its split is not known;"
            " fill it, or leave the row out"
        )
    if isinstance(settings.split, str):
        part = np.concatenate(reader.parts)
        wrong = np.flatnonzero(part == len(SPLITS))
        if len(wrong):
            raise _RowsError(f"column {settings.split!r}, row {wrong[0] + 1} must be one of {', '.join(SPLITS)}")
        empty = np.flatnonzero((part > 0) & ~labelled)
        if len(empty):
            name = SPLITS[part[empty[0]]]
            raise _RowsError(f"row {empty[0] + 1} is a {name} row, but column {settings.target!r} is empty there")
    elif settings.groups is not None:
        groups = np.unique(np.array(reader.names), return_inverse=True)[1].astype(np.int64)
        part = split_by_group(groups, labelled, settings.split)
    elif settings.order is not None:
        keys = ranks(reader.names)
        if isinstance(keys, int):
            raise _RowsError(
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
            raise _RowsError(f"{what} are too few for a {_IN_WORDS[name]} row; give more, or other shares (data.split)")
    return part


def _rare_classes(
    settings: DataConfig, classes: list[str], labels: NDArray[np.int64], splits: NDArray[np.uint8]
) -> list[str]:
    """Return what is wrong with the classes that have no training row, or no other."""
    counts = count_labels(labels, len(classes))
    learnt = count_labels(np.where(splits == 0, labels, -1), len(classes))
    errors = []
    chance = not settings.stratify and isinstance(settings.split, list) and settings.groups is settings.order is None
    for label, name in enumerate(classes):
        rows = int(counts[label])
        how_many = "one row" if rows == 1 else f"{rows} rows"
        if not learnt[label]:
            what = f"{how_many} of class {name!r}, but no training row"
            if rows > 1 and chance:
                errors.append(f"column {settings.target!r} has {what}; deal them class by class: --data.stratify true")
                continue
        elif rows == 1 and settings.split != [1.0, 0.0, 0.0]:
            what = f"one row of class {name!r}, too few to learn and to test"
        else:
            continue
        errors.append(f"column {settings.target!r} has {what}; give more rows of it, or join it to another class")
    if len(errors) <= _MOST_NAMED:
        return errors
    numbers = all(NUMBER.fullmatch(name) for name in classes)
    hint = "; to predict numbers: --task regression" if numbers else ""
    return [
        f"column {settings.target!r} has {len(classes)} classes, of which {len(errors)} have too few rows to learn and"
        f" to test, such as {errors[0].split(' of class ')[1].split(',')[0]}; give more rows of them, or join them to"
        f" others{hint}"
    ]
