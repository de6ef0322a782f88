"""What the columns of a table hold, and what of it is fitted on the training rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stacked_dae.config.data_schema import DataConfig
from stacked_dae.data.columns.columns import Column, PixelColumn
from stacked_dae.data.columns.errors import ColumnError, ConstantColumnError, leave_out, list_option, listed
from stacked_dae.data.columns.fitting import RunningMoments, fit_categorical, fit_numeric
from stacked_dae.data.columns.values import NUMBER, Values, first_wrong
from stacked_dae.data.formats.table_file import TableFile
from stacked_dae.errors import DataError

# A column with more names than these is taken for an identifier; no need to count further.
_MOST_NAMES = 1000
# Fewer rows may have different values by chance, and further ones change nothing.
_FEWEST_IDENTIFIERS, _ENOUGH_IDENTIFIERS = 30, 100_000
_FEWEST_FOR_A_COPY = 30
# Of the rows outside the most common class, how many the column must tell.
_TOLD = 0.98


def check_numbers(path: Path, name: str, values: Values, start: int) -> None:
    """Raise DataError where these values, from row ``start`` on, are not numbers, infinite or too large."""
    wrong = first_wrong(values)
    if wrong is not None:
        at, what = wrong
        raise DataError(f"{path}: column {name!r}, row {start + at + 1} is {what}; correct it, or leave the row out")


class TargetCopy:
    """Whether a column tells the class of (nearly) every row: by a few values, or by ranges that do not overlap.

    Args:
        classes: number of classes.
    """

    def __init__(self, classes: int) -> None:
        self._classes = classes
        self._rows = np.zeros(classes, np.int64)
        # How many rows of each class have each value; None once there are more values than a copy would have.
        self._values: dict[object, NDArray[np.int64]] | None = {}
        # The least and the greatest number of each class; None once they overlap or there is text.
        self._low: NDArray[np.float64] | None = np.full(classes, np.inf)
        self._high = np.full(classes, -np.inf)

    def read(self, values: Values, labels: NDArray[np.int64]) -> None:
        """Take more rows that have a label: (n,) and (n,)."""
        if self._values is None and self._low is None:
            return
        is_known = np.array([v is not None for v in values], np.bool_) if values.dtype == object else ~np.isnan(values)
        values, labels = values[is_known], labels[is_known]
        if not len(values):
            return
        self._rows += np.bincount(labels, minlength=self._classes)
        if values.dtype == object:
            self._low = None
        if self._values is not None:
            self._count(values, labels)
        if self._low is not None:
            self._widen(values, labels)

    def _count(self, values: Values, labels: NDArray[np.int64]) -> None:
        assert self._values is not None
        for value in np.unique(values):
            if len(self._values) > 2 * self._classes:
                self._values = None
                return
            counts = np.bincount(labels[values == value], minlength=self._classes)
            self._values[value] = self._values.get(value, 0) + counts

    def _widen(self, values: NDArray[np.float64], labels: NDArray[np.int64]) -> None:
        assert self._low is not None
        order = np.argsort(labels, kind="stable")
        present, starts = np.unique(labels[order], return_index=True)
        self._low[present] = np.minimum(self._low[present], np.minimum.reduceat(values[order], starts))
        self._high[present] = np.maximum(self._high[present], np.maximum.reduceat(values[order], starts))
        seen = np.flatnonzero(self._high >= self._low)
        by_size = seen[np.argsort(self._low[seen])]
        if (self._high[by_size[:-1]] >= self._low[by_size[1:]]).any():
            self._low = None

    @property
    def tells_the_class(self) -> bool:
        """Whether it does, of enough rows and at least two classes."""
        total, most = int(self._rows.sum()), int(self._rows.max(initial=0))
        if total < _FEWEST_FOR_A_COPY or total == most:
            return False
        if self._low is not None:
            return True
        if not self._values:
            return False
        told = sum(int(counts.max()) for counts in self._values.values())
        return told - most >= _TOLD * (total - most)


class ColumnScan:
    """What one column holds.

    Args:
        path: the file, for errors.
        name: of the column.
        is_named: whether the user says that it holds names.
        may_identify: whether it may be found to be an identifier; not where the user asked for the column.
        classes: number of classes; 0 without a target.
        na_values: what stands for a missing value already.
    """

    def __init__(
        self, path: Path, name: str, *, is_named: bool, may_identify: bool, classes: int, na_values: Sequence[str]
    ) -> None:
        self.name, self.is_named = name, is_named
        self._path, self._na_values = path, na_values
        self.count = self.missing = 0
        self.error: ColumnError | None = None
        self.moments = RunningMoments()
        """Of the numbers in the training rows."""
        self.names: Counter[str] = Counter()
        """How often a training row has each name; no further one is taken up once there are too many."""
        self.copy = TargetCopy(classes) if classes else None
        self._names_count = 0
        # The row and value of the first number and of the first text.
        self._number: tuple[int, str] | None = None
        self._text: tuple[int, str] | None = None
        # The values, as long as no two rows have the same.
        self._different: set[Any] | None = set() if may_identify else None

    @property
    def holds_names(self) -> bool:
        """Whether the column holds names."""
        return self.is_named or self._text is not None

    @property
    def holds(self) -> str:
        """What the column holds, in words."""
        if self._number and self._text and not self.is_named:
            return "numbers and text"
        return "names" if self.holds_names else "numbers"

    @property
    def has_too_many_names(self) -> bool:
        """Whether its names are more than inputs can be made of."""
        return self.holds_names and len(self.names) > _MOST_NAMES

    @property
    def is_identifier(self) -> bool:
        """Whether it is of whole numbers or text in which no two rows have the same value, of many rows."""
        # A mistyped number among numbers is to be corrected.
        return self._different is not None and self.count >= _FEWEST_IDENTIFIERS and self.error is None

    def read(self, values: Values, is_training: NDArray[np.bool_], labels: NDArray[np.int64]) -> None:
        """Take more rows: their values, which of them are training rows, and their labels."""
        if self._different is not None and not self._differ(values):
            self._different = None
        if values.dtype != object:
            self._read_numbers(values, is_training)
        else:
            self._read_names(values, is_training)
        if self._number and self._text and not self.is_named and self.error is None:
            (number_at, number), (text_at, text) = self._number, self._text
            self.error = ColumnError(
                str(self._path),
                self.name,
                f"holds numbers and text: row {number_at} is {number}, row {text_at} is {text!r}",
                f"correct it, or, if all are names: {list_option('data.categorical', [self.name])}, or, if {text!r}"
                f" stands for a missing value: {list_option('data.na_values', [*self._na_values, text])}",
            )
        if self.copy is not None:
            known = is_training & (labels >= 0)
            self.copy.read(values[known], labels[known])
        self.count += len(values)

    def _differ(self, values: Values) -> bool:
        """Return whether the column may still name its rows."""
        different = self._different
        assert different is not None
        if len(different) >= _ENOUGH_IDENTIFIERS:
            return True
        if values.dtype != object and not (np.isfinite(values) & (values == np.floor(values))).all():
            return False
        before = len(different)
        different.update(values.tolist())
        return None not in different and len(different) == before + len(values)

    def _read_numbers(self, values: Values, is_training: NDArray[np.bool_]) -> None:
        is_missing = np.isnan(values)
        self.missing += int(is_missing.sum())
        far = first_wrong(values)
        if far is not None and self.error is None:
            at, what = far
            self.error = ColumnError(
                str(self._path),
                self.name,
                f"is {what} in row {self.count + at + 1}",
                f"correct it, or {leave_out(self.name)}",
            )
        if self._number is None and not is_missing.all():
            at = int((~is_missing).argmax())
            self._number = self.count + at + 1, f"{values[at]:g}"
        self.moments.add(values[is_training])

    def _read_names(self, values: Values, is_training: NDArray[np.bool_]) -> None:
        found = Counter(values.tolist())
        self.missing += found.pop(None, 0)
        if not self.is_named:
            for value in found:
                is_number = NUMBER.fullmatch(value) is not None
                if (self._number if is_number else self._text) is None:
                    at = int((values == value).argmax())
                    first = self.count + at + 1, value
                    self._number, self._text = (first, self._text) if is_number else (self._number, first)
        if not is_training.all():
            found = Counter(values[is_training].tolist())
            found.pop(None, None)
        self._names_count += found.total()
        if len(self.names) <= _MOST_NAMES:
            self.names.update(found)

    def fit(self, settings: DataConfig) -> Column:
        """Return the column, fitted on the training rows.

        Raises:
            ColumnError: it cannot be an input.
        """
        if self.error is not None:
            raise self.error
        if self.holds_names:
            of = 0 if self.is_named else self._names_count
            return fit_categorical(str(self._path), self.name, sorted(self.names), _MOST_NAMES, of=of)
        return fit_numeric(str(self._path), self.name, self.moments, settings.scale)


def scan_columns(
    path: Path,
    file: TableFile,
    names: list[str],
    settings: DataConfig,
    splits: NDArray[np.uint8],
    labels: NDArray[np.int64],
    classes: int,
) -> Mapping[str, ColumnScan]:
    """Go through these columns, but for the pixels of images, of which nothing is fitted.

    Args:
        path: the file, for errors.
        file: the table.
        names: of the columns.
        settings: the roles of the columns.
        splits: (n,) 0 for a training row.
        labels: (n,) −1 for a row without a label.
        classes: number of classes; 0 without a target.

    Raises:
        DataError: the file is damaged. What is wrong with a column becomes its ``error``.
    """
    asked = {*settings.keep, *settings.categorical}
    scans = {
        name: ColumnScan(
            path,
            name,
            is_named=name in settings.categorical,
            may_identify=name not in asked,
            classes=classes,
            na_values=settings.na_values,
        )
        for name in names
        if name not in file.pixels
    }
    for name in scans:
        if name in file.unusable:
            scans[name].error = ColumnError(
                str(path), name, f"holds {file.unusable[name]}, neither numbers nor text", leave_out(name)
            )
    readable = [name for name in scans if name not in file.unusable]
    start = 0
    for values in file.batches(readable, set(settings.categorical) & set(readable)) if readable else ():
        stop = start + len(values[readable[0]])
        for name in readable:
            scans[name].read(values[name], splits[start:stop] == 0, labels[start:stop])
        start = stop
    return scans


def copies_of_the_target(
    path: Path, scans: Mapping[str, ColumnScan], names: Sequence[str], settings: DataConfig
) -> list[str]:
    """Return a line for each column that tells the class of nearly every training row."""
    copies = [name for name in names if (copy := scans[name].copy) is not None and copy.tells_the_class]
    drop = list_option("data.drop", [*settings.drop, *copies])
    return [
        f"{path}: column {name!r} alone tells {settings.target!r} in nearly every row; if it is the answer in other"
        f" words, leave it out: {drop}"
        for name in copies
    ]


def fit_columns(
    path: Path, file: TableFile, scans: Mapping[str, ColumnScan], names: Sequence[str], settings: DataConfig
) -> tuple[list[Column], list[ColumnError], list[str]]:
    """Return the columns, fitted on the training rows, what is wrong with others, and a line for those left out.

    Columns that were not scanned are pixels. A constant column of an array is left out, unless it is the last.
    """
    columns: list[Column] = []
    errors: list[ColumnError] = []
    constant: list[ColumnError] = []
    for name in names:
        try:
            columns.append(scans[name].fit(settings) if name in scans else PixelColumn(name))
        except ColumnError as error:
            spare = isinstance(error, ConstantColumnError) and name in file.unnamed and name not in settings.keep
            (constant if spare else errors).append(error)
    if not columns or not constant:
        return columns, [*errors, *constant], []
    columns_are = listed([error.name for error in constant]) + (" is" if len(constant) == 1 else " are")
    return columns, errors, [f"{path}: {columns_are} constant in the training rows, so left out"]
