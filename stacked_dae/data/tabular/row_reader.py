"""The columns of a table that say what a row is: its target, its split, its group or order, and its weight."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stacked_dae.config.data_schema import DataConfig
from stacked_dae.data.columns.errors import list_option
from stacked_dae.data.columns.values import NUMBER, Values, first_wrong
from stacked_dae.data.columns.written_numbers import written_number
from stacked_dae.data.formats.table_file import TableFile
from stacked_dae.data.tabular.splitting import SPLITS

_WHOLE = re.compile(r"-?\d+", re.ASCII)
# A label is a number that fits a file's 64 bits.
_LARGEST_LABEL = 2**63 - 1
_TARGET_IS = "names classes, by text or whole numbers"


class RowsError(Exception):
    """The rows cannot be labelled, or dealt out."""


class RowReader:
    """Reads the target and the split, as text, but for the numbers of a regression."""

    def __init__(self, settings: DataConfig, *, predicts_numbers: bool) -> None:
        self._predicts_numbers = predicts_numbers
        self._na_values = settings.na_values
        self._numbers: list[NDArray[np.float64]] = []
        self._target = settings.target
        self._split = settings.split if isinstance(settings.split, str) else None
        self._together = settings.groups if settings.groups is not None else settings.order
        self._labels: list[NDArray[np.int32]] = []
        # The classes in the order in which they came.
        self._classes: dict[str, int] = {}
        self._error: RowsError | None = None
        self.parts: list[NDArray[np.uint8]] = []
        self.empty: int | None = None
        """The first row without a group, or a place in the order; from 1."""
        self.names: list[str] = []
        """Of the group of each row, or its place in the order."""
        self.count = 0
        self._weighted = settings.weights
        self._weights: list[NDArray[np.float64]] = []
        self._weights_error: RowsError | None = None

    def read(self, file: TableFile) -> None:
        """Go through the file."""
        if self._target is not None and self._target in file.unusable:
            what = f"column {self._target!r} holds {file.unusable[self._target]}"
            wanted_is = "holds numbers (task regression)" if self._predicts_numbers else _TARGET_IS
            self._error = RowsError(f"{what}, but the target {wanted_is}")
        columns = (self._target, self._split, self._weighted)
        wanted = [name for name in columns if name is not None and name not in file.unusable]
        if self._weighted is not None and self._weighted in file.unusable:
            what = f"column {self._weighted!r} holds {file.unusable[self._weighted]}"
            self._weights_error = RowsError(f"{what}, but weights are numbers of at least 0")
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
                except RowsError as error:
                    # The file is read to its end: how many rows it has is wanted all the same.
                    self._error = error
            if self._weighted is not None and self._weights_error is None:
                try:
                    self._weights.append(self._checked_weights(values[self._weighted]))
                except RowsError as error:
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
            row = f"column {self._target!r}, row {self.count + at + 1} is"
            if isinstance(values[at], str) and written_number(values[at], ".") is not None:
                raise RowsError(f"{row} {values[at].strip()!r}, but not all numbers bear this sign; write them alike")
            raise RowsError(
                f"{row} {what}; task regression predicts numbers: correct it, or, if it stands for a missing value:"
                f" {self._as_missing(values[at])}"
            )
        return values

    def _as_missing(self, value: Any) -> str:
        """Return the option that makes a value a missing one."""
        text = str(value).strip() if isinstance(value, str) else f"{value:.15g}"
        return list_option("data.na_values", [*self._na_values, text])

    def _checked_weights(self, values: Values) -> NDArray[np.float64]:
        """Return weights, NaN for missing ones."""
        wrong = first_wrong(values)
        if wrong is None and (values < 0.0).any():
            at = int((values < 0.0).argmax())
            wrong = at, f"{values[at]:g}, which is negative"
        if wrong is not None:
            raise self._bad_weight(self.count + wrong[0], wrong[1])
        return values

    def _bad_weight(self, at: int, what: str) -> RowsError:
        return RowsError(
            f"column {self._weighted!r}, row {at + 1} is {what}; weights are numbers of at least 0: correct it, or"
            " leave the row out"
        )

    def weights(self, labels: NDArray[np.int64]) -> NDArray[np.float64] | None:
        """Return the weight of each row, (n,), 0 where there is neither one nor a label; None without a column."""
        if self._weighted is None:
            return None
        if self._weights_error is not None:
            raise self._weights_error
        weights = np.concatenate(self._weights)
        missing = np.isnan(weights)
        if (missing & (labels >= 0)).any():
            raise self._bad_weight(int((missing & (labels >= 0)).argmax()), "empty")
        return np.where(missing, 0.0, weights)

    def targets(self) -> NDArray[np.float64]:
        """Return the number of each row, (n,), NaN where it has none."""
        if self._error is not None:
            raise self._error
        targets = np.concatenate(self._numbers)
        if np.isnan(targets).all():
            raise RowsError(f"column {self._target!r} has no value in any row")
        return targets

    def _check_label(self, value: str, row: int) -> None:
        if not NUMBER.fullmatch(value):
            return
        where = f"column {self._target!r}, row {row} is {value}"
        if not _WHOLE.fullmatch(value) and not float(value).is_integer():
            raise RowsError(f"{where}, but the target {_TARGET_IS}; to predict numbers: --config regression")
        if abs(int(value) if _WHOLE.fullmatch(value) else float(value)) > _LARGEST_LABEL:
            raise RowsError(f"{where}, a number too large for a class")

    def labels(self) -> tuple[list[str], NDArray[np.int64]]:
        """Return the classes and the label of each row, −1 where it has none."""
        if self._error is not None:
            raise self._error
        found = self._classes
        if len(found) < 2:
            what = f"one class only ({next(iter(found))!r})" if found else "no value in any row"
            raise RowsError(f"column {self._target!r} has {what}; fine-tuning needs two or more classes")
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
