"""The first pass over a table: what its columns hold, and which rows are in which split."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stacked_dae.config.data_schema import DataConfig
from stacked_dae.data.tabular.column_errors import ColumnError, list_option
from stacked_dae.data.tabular.files import TableFile
from stacked_dae.data.tabular.preprocessing import LARGEST, NUMBER, Values
from stacked_dae.errors import DataError
from stacked_dae.utils.seeding import derive_seed

_PARTS = {"train": 0, "valid": 1, "test": 2}
# Fewer rows may have different values by chance, and further ones change nothing.
_FEWEST_IDENTIFIERS, _ENOUGH_IDENTIFIERS = 30, 100_000
_WHOLE = re.compile(r"-?\d+", re.ASCII)
# A label is a number that fits a file's 64 bits.
_LARGEST_LABEL = 2**63 - 1


def check_numbers(path: Path, name: str, values: Values, start: int) -> None:
    """Raise DataError where these values, from row ``start`` on, are not numbers, infinite or too large."""
    if values.dtype == object:
        at, text = next((i, v) for i, v in enumerate(values) if v is not None and not NUMBER.fullmatch(v))
        raise DataError(f"{path}: column {name!r}, row {start + at + 1} is {text!r}, which is not a number")
    with np.errstate(invalid="ignore"):
        far = np.flatnonzero(np.abs(values) > LARGEST)
    if len(far):
        value = values[far[0]]
        what = "infinite" if np.isinf(value) else f"{value:g}, beyond ±{LARGEST:g}"
        raise DataError(
            f"{path}: column {name!r}, row {start + int(far[0]) + 1} is {what}; correct it, or drop the column"
        )


class Scan:
    """The first pass: the number of rows, the labels, and whether a column holds numbers or names."""

    def __init__(self, path: Path, names: list[str], settings: DataConfig) -> None:
        self.path, self.names, self.target = path, names, settings.target
        self.split = settings.split if isinstance(settings.split, str) else None
        self.targets: list[NDArray[np.int32]] = []
        self.parts: list[NDArray[np.uint8]] = []
        # The labels in the order in which they came.
        self.classes: dict[str, int] = {}
        self.rows = 0
        # The columns that cannot be inputs.
        self.errors: dict[str, ColumnError] = {}
        # Of each column the row and value of the first number and of the first text.
        self._numbers: dict[str, tuple[int, str]] = {}
        self._texts: dict[str, tuple[int, str]] = {}
        self._forced = set(settings.categorical)
        # The different values of each column that nobody asked for, as long as no two rows have the same.
        asked = {*settings.keep, *settings.categorical}
        self._different: dict[str, set[Any]] = {name: set() for name in names if name not in asked}

    @property
    def categorical(self) -> list[str]:
        """The columns of names."""
        return [name for name in self.names if name in self._forced or name in self._texts]

    @property
    def identifiers(self) -> list[str]:
        """The columns of whole numbers or text in which no two rows have the same value, of many rows."""
        found = [name for name in self._different if self.rows >= _FEWEST_IDENTIFIERS]
        # A mistyped number among numbers is to be corrected.
        return [name for name in found if name not in self.errors]

    def read(self, file: TableFile) -> None:
        """Go through the file.

        Raises:
            DataError: it has no rows, or an infinite number. A column of both numbers and text goes into ``errors``.
        """
        others = [name for name in (self.target, self.split) if name is not None]
        for values in file.batches([*self.names, *others], {*others, *self._forced}):
            for name in self.names:
                if name not in self._forced:
                    self._look(name, values[name])
                if name in self._different and not self._differ(name, values[name]):
                    del self._different[name]
            if self.target is not None:
                self.targets.append(self._numbered(values[self.target]))
            if self.split is not None:
                self.parts.append(np.array([_PARTS.get(value, len(_PARTS)) for value in values[self.split]], np.uint8))
            self.rows += len(values[self.names[0]])
        if not self.rows:
            raise DataError(f"{self.path}: it has no rows")

    def _differ(self, name: str, values: Values) -> bool:
        """Return whether a column may still name its rows."""
        different = self._different[name]
        if len(different) >= _ENOUGH_IDENTIFIERS:
            return True
        if values.dtype != object and not (np.isfinite(values) & (values == np.floor(values))).all():
            return False
        before = len(different)
        different.update(values.tolist())
        return None not in different and len(different) == before + len(values)

    def _numbered(self, labels: Values) -> NDArray[np.int32]:
        """Return labels as places in ``classes``, −1 for missing ones; a new one is looked at once."""
        for row, value in enumerate(labels, self.rows + 1):
            if value is not None and value not in self.classes:
                self._check_label(value, row)
                self.classes[value] = len(self.classes)
        return np.array([-1 if value is None else self.classes[value] for value in labels], np.int32)

    def _check_label(self, value: str, row: int) -> None:
        if not NUMBER.fullmatch(value):
            return
        where = f"{self.path}: column {self.target!r}, row {row} is {value}"
        if not _WHOLE.fullmatch(value) and not float(value).is_integer():
            raise DataError(f"{where}, but the target names classes, by text or whole numbers")
        if abs(int(value) if _WHOLE.fullmatch(value) else float(value)) > _LARGEST_LABEL:
            raise DataError(f"{where}, a number too large for a class")

    def _look(self, name: str, values: Values) -> None:
        if values.dtype != object:
            check_numbers(self.path, name, values, self.rows)
            known = np.flatnonzero(~np.isnan(values))
            if len(known):
                self._numbers.setdefault(name, (self.rows + int(known[0]) + 1, f"{values[known[0]]:g}"))
        else:
            for at, value in enumerate(values):
                if value is not None:
                    kind = self._numbers if NUMBER.fullmatch(value) else self._texts
                    kind.setdefault(name, (self.rows + at + 1, value))
        if name in self._numbers and name in self._texts and name not in self.errors:
            (number_at, number), (text_at, text) = self._numbers[name], self._texts[name]
            self.errors[name] = ColumnError(
                str(self.path),
                name,
                f"holds numbers and text: row {number_at} is {number}, row {text_at} is {text!r}",
                f"correct it, or, if all are names: {list_option('data.categorical', [name])}",
            )


def labels_of(path: Path, scan: Scan) -> tuple[list[str], NDArray[np.int64]]:
    """Return the classes and the label of each row, −1 where it has none."""
    target = scan.target
    if target is None:
        return [], np.full(scan.rows, -1, np.int64)
    found = scan.classes
    if len(found) < 2:
        what = f"one class only ({next(iter(found))!r})" if found else "no value in any row"
        raise DataError(f"{path}: column {target!r} has {what}; fine-tuning needs two or more classes")
    # Text such as 007 beside 7 has an order, but is no number.
    whole = all(_WHOLE.fullmatch(value) and str(int(value)) == value for value in found)
    classes = sorted(found, key=int) if whole else sorted(found)
    # From the order in which they came to their own; the last place is that of no label.
    label = np.empty(len(found) + 1, np.int64)
    label[[found[name] for name in classes]] = np.arange(len(classes))
    label[-1] = -1
    return classes, label[np.concatenate(scan.targets)]


def assign_splits(path: Path, settings: DataConfig, labels: NDArray[np.int64], scan: Scan) -> NDArray[np.uint8]:
    """Return the split of each row: 0, 1 or 2.

    No label decides where its row goes, and no run's seed: labelled rows are dealt by a shuffle of their numbers that
    is always the same, and rows without a label are training rows.
    """
    part = np.zeros(scan.rows, np.uint8)
    if isinstance(settings.split, str):
        part = np.concatenate(scan.parts)
        wrong = np.flatnonzero(part == len(_PARTS))
        if len(wrong):
            raise DataError(f"{path}: column {settings.split!r}, row {wrong[0] + 1} must be one of {', '.join(_PARTS)}")
        empty = np.flatnonzero((part > 0) & (labels < 0) & (settings.target is not None))
        if len(empty):
            name = list(_PARTS)[part[empty[0]]]
            raise DataError(
                f"{path}: row {empty[0] + 1} is a {name} row, but column {settings.target!r} is empty there"
            )
    else:
        rows = np.arange(scan.rows) if settings.target is None else np.flatnonzero(labels >= 0)
        rows = np.random.Generator(np.random.PCG64(derive_seed(0, "split"))).permutation(rows)
        valid, test = (round(share * len(rows)) for share in settings.split[1:])
        part[rows[:valid]] = 1
        part[rows[valid : valid + test]] = 2
    for which, name in enumerate(_PARTS):
        if not (part == which).any():
            raise DataError(
                f"{path}: {scan.rows} rows are too few for a {name} row; give more rows, or other shares (data.split)"
            )
    return part


def check_classes(
    path: Path, settings: DataConfig, classes: list[str], labels: NDArray[np.int64], part: NDArray[np.uint8]
) -> None:
    """Raise DataError unless every class has a training row and at least one other row."""
    for label, name in enumerate(classes):
        rows = int((labels == label).sum())
        if not ((labels == label) & (part == 0)).any():
            how_many = "one row" if rows == 1 else f"{rows} rows"
            raise DataError(
                f"{path}: column {settings.target!r} has {how_many} of class {name!r}, but no training row;"
                " give more rows of it, or join it to another class"
            )
        if rows == 1:
            raise DataError(
                f"{path}: column {settings.target!r} has one row of class {name!r}, too few to learn and to test; give"
                " more rows of it, or join it to another class"
            )
