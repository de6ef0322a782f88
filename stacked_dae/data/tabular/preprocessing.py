"""The columns of a table as inputs of a network: scaled or one-hot, as fitted on the training rows."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from stacked_dae.data.tabular.column_errors import ColumnError, leave_out, list_option
from stacked_dae.errors import DataError
from stacked_dae.utils.type_hints import matches_type

# In standard deviations.
_FAR = 1e30
Values = NDArray[Any]
"""The values of one column, (n,): float64 with NaN where one is missing, or objects, text or None."""

# What a value that the training rows did not have counts as.
UNSEEN = "(unseen)"
# Numbers beyond it cannot be scaled in float32.
LARGEST = 1e30
# A number, in every kind of file.
NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*", re.ASCII)
_WHOLE = re.compile(r"([+-]?)0*(\d+)(?:\.0*)?", re.ASCII)


# Text that is a whole number as files of numbers have it too: 4.0 is how a column with missing values writes 4.
_PLAIN = re.compile(r"(-?(?:0|[1-9]\d*))(?:\.0)?", re.ASCII)


def name_of(value: Any, *, as_written: bool = True) -> str | None:
    """Return a value as a name, the same from every kind of file; None for a missing one.

    Text is stripped of surrounding blanks, and is missing where nothing is left; true and false are lowercase, and 4.0
    is 4. Numbers that are no text have no point where they are whole, else the fewest digits that identify them.

    Args:
        value: of a table.
        as_written: False to write text like the number that it stands for, as the first versions did: 007 is 7, and
            1E2 is 100.
    """
    if is_missing(value):
        return None
    if isinstance(value, (bool, np.bool_)):
        return str(bool(value)).lower()
    if isinstance(value, np.floating) and not isinstance(value, float):
        # The fewest digits of a float32 are fewer than those of the same number as a float64.
        value = np.format_float_positional(value, trim="0") if np.isfinite(value) else str(value)
    text = str(value).strip()
    if text.lower() in ("true", "false"):
        return text.lower()
    if as_written and isinstance(value, str):
        plain = _PLAIN.fullmatch(text)
        return plain[1] if plain else text or None
    if NUMBER.fullmatch(text):
        whole = _WHOLE.fullmatch(text)
        if whole:
            return f"{'-' if whole[1] == '-' and whole[2] != '0' else ''}{whole[2]}"
        number = float(text)
        return str(int(number)) if number.is_integer() and abs(number) < _EXACT else repr(number)
    return text or None


# Whole numbers beyond it are not all floats.
_EXACT = 2.0**53


def is_missing(value: Any) -> bool:
    """Return whether a value of a table says that there is none: None, NaN, pandas' NA and NaT."""
    if value is None:
        return True
    try:
        return bool(value != value)
    except (TypeError, ValueError):
        # pandas' NA does not compare.
        return type(value).__name__ == "NAType"


@dataclass(frozen=True)
class NumericColumn:
    """A column of numbers, one input: (value − shift) / width.

    In min-max scaling ``shift`` is the least training value and ``width`` their span, and values beyond are clipped to
    [0, 1]. In standardising they are mean and standard deviation.
    """

    name: str
    shift: float
    width: float
    standardised: bool

    @property
    def inputs(self) -> list[str]:
        """Names of the inputs that the column gives."""
        return [self.name]

    def transform(self, values: Values) -> NDArray[np.float32]:
        """Return the inputs, (n, 1), NaN where a value is missing.

        Raises:
            DataError: a value is so far from the training rows that float32 cannot hold it.
        """
        with np.errstate(over="ignore"):
            scaled = (values - self.shift) / self.width
        if self.standardised and (np.abs(scaled) > _FAR).any():
            value = values[np.abs(scaled) > _FAR][0]
            raise DataError(f"column {self.name!r} has the value {value:g}, too far from the training rows; correct it")
        return (scaled if self.standardised else np.clip(scaled, 0.0, 1.0)).astype(np.float32)[:, None]


@dataclass(frozen=True)
class CategoricalColumn:
    """A column of names, one input for each of its ``values`` in the training rows (sorted) and one for all others."""

    name: str
    values: list[str]

    @property
    def inputs(self) -> list[str]:
        """Names of the inputs that the column gives."""
        return [f"{self.name}={value}" for value in [*self.values, UNSEEN]]

    def transform(self, values: Values) -> NDArray[np.float32]:
        """Return the inputs, (n, number of values + 1) of 0 and 1, NaN where a value is missing."""
        places: dict[str | None, int] = {value: place for place, value in enumerate(self.values)}
        at = np.array([places.get(value, len(places)) for value in values], dtype=np.intp)
        inputs = np.zeros((len(values), len(places) + 1), dtype=np.float32)
        inputs[np.arange(len(values)), at] = 1.0
        inputs[np.array([value is None for value in values], dtype=np.bool_)] = np.nan
        return inputs


Column = NumericColumn | CategoricalColumn
_NUMERIC = {"name": str, "shift": float, "width": float, "standardised": bool}
_CATEGORICAL = {"name": str, "values": list[str]}
# Kept where they are true, so that other models stay as they were.
_FLAGS = ("as_written", "from_layers")


@dataclass(frozen=True)
class Preprocessing:
    """The preprocessing of a table's rows to inputs and labels, fitted on the training rows; a part of the model.

    Args:
        columns: the columns that are inputs, in their order.
        target: the column of the class; None where there is none.
        classes: its values, in the order of the labels; those of whole numbers by size, others by the alphabet.
        as_written: whether names are text as the file has it, where that is not how a number is written: 007, 1E2.
        from_layers: whether the columns were fitted on another table, that of the pre-trained layers.
    """

    columns: list[Column]
    target: str | None
    classes: list[str]
    as_written: bool = False
    from_layers: bool = False

    @property
    def names(self) -> list[str]:
        """Names of the columns."""
        return [column.name for column in self.columns]

    @property
    def inputs(self) -> list[str]:
        """Names of the network's inputs, d of them."""
        return [name for column in self.columns for name in column.inputs]

    @property
    def standardised(self) -> NDArray[np.bool_]:
        """Mask of the inputs that are standardised, (d,); the others are in [0, 1]."""
        return np.array(
            [isinstance(c, NumericColumn) and c.standardised for c in self.columns for _ in c.inputs], dtype=np.bool_
        )

    def categorical(self) -> list[str]:
        """Return the names of the columns of names."""
        return [column.name for column in self.columns if isinstance(column, CategoricalColumn)]

    def transform(self, values: Mapping[str, Values]) -> NDArray[np.float32]:
        """Return the inputs of rows whose columns are ``values`` by name: (n, d), NaN where a value is missing."""
        return np.concatenate([column.transform(values[column.name]) for column in self.columns], axis=1)

    def unseen(self, values: Mapping[str, Values]) -> list[tuple[str, int, str]]:
        """Return (column, row, value) of every value that its column did not have in the training rows."""
        found = []
        for column in self.columns:
            if isinstance(column, CategoricalColumn):
                known = {None, *column.values}
                found += [(column.name, i, v) for i, v in enumerate(values[column.name]) if v not in known]
        return found

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values, for JSON."""
        return {name: value for name, value in asdict(self).items() if name not in _FLAGS or value}

    @staticmethod
    def from_dict(values: Any) -> Preprocessing:
        """Return the Preprocessing of :meth:`to_dict`.

        Raises:
            ValueError: ``values`` are not those of a Preprocessing.
        """
        hints: dict[str, Any] = {"columns": list[dict[str, Any]], "target": str | None, "classes": list[str]}
        flags = [name for name in _FLAGS if isinstance(values, dict) and name in values]
        hints |= dict.fromkeys(flags, bool)
        if not _has(values, hints) or not values["columns"]:
            raise ValueError("columns are missing")
        columns: list[Column] = []
        for column in values["columns"]:
            if _has(column, _NUMERIC) and column["width"] > 0:
                columns.append(NumericColumn(**column))
            elif _has(column, _CATEGORICAL):
                columns.append(CategoricalColumn(**column))
            else:
                raise ValueError("a column is neither numeric nor categorical")
        return Preprocessing(columns, values["target"], values["classes"], **{name: values[name] for name in flags})


def canonical(values: Values) -> Values:
    """Return names, (n,), as the first versions wrote them (:func:`name_of`); numbers stay."""
    if values.dtype != object:
        return values
    names = {value: name_of(value, as_written=False) for value in set(values)}
    return np.array([names[value] for value in values], object)


def _has(values: Any, hints: Mapping[str, Any]) -> bool:
    return (
        isinstance(values, dict)
        and set(values) == set(hints)
        and all(matches_type(hints[k], v) for k, v in values.items())
    )


# With at most this many different names a column is not an identifier, however few the rows.
_FEW = 30


class RunningMoments:
    """Count, least, greatest, mean and standard deviation of the numbers of a column, block by block."""

    def __init__(self) -> None:
        self.count, self.low, self.high = 0, np.inf, -np.inf
        self.mean = self._squares = 0.0

    def add(self, values: NDArray[np.float64]) -> None:
        """Take more values; NaN are passed over."""
        values = values[~np.isnan(values)]
        if not len(values):
            return
        # Chan, Golub and LeVeque (1979): exact where a sum of squares would cancel.
        with np.errstate(over="ignore", invalid="ignore"):
            count, mean = len(values), float(values.mean())
            squares = float(np.square(values - mean).sum())
        total, apart = self.count + count, mean - self.mean
        self._squares += squares + apart * apart * self.count * count / total
        self.mean += apart * count / total
        self.count = total
        self.low, self.high = min(self.low, float(values.min())), max(self.high, float(values.max()))

    @property
    def deviation(self) -> float:
        """Standard deviation, of the population."""
        return float(np.sqrt(self._squares / self.count))


def fit_numeric(where: str, name: str, moments: RunningMoments, scale: Literal["minmax", "standard"]) -> NumericColumn:
    """Return the column of these training values.

    Raises:
        DataError: they are all missing, or all the same; the text begins with ``where``.
    """
    _check_varied(where, name, moments.count, moments.low == moments.high, f"{moments.low:g}")
    standard = scale == "standard"
    shift, width = (moments.mean, moments.deviation) if standard else (moments.low, moments.high - moments.low)
    if not (np.isfinite(width) and width > 0.0):
        raise ColumnError(
            where,
            name,
            f"spans {moments.low:g} to {moments.high:g}, which cannot be scaled",
            leave_out(name),
        )
    return NumericColumn(name, float(shift), float(width), standard)


def fit_categorical(
    where: str, name: str, values: Sequence[str], most: int = 1000, *, of: int = 0
) -> CategoricalColumn:
    """Return the column of these different training values.

    Args:
        where: the file, which errors begin with.
        name: of the column.
        values: the different names.
        most: greatest number of names.
        of: number of values in the column; 0 where the user declared them names.

    Raises:
        DataError: there are none, only one, more than ``most``, or nearly as many as values.
    """
    _check_varied(where, name, len(values), len(values) == 1, repr(values[0]) if values else "")
    if len(values) > most:
        raise ColumnError(
            where,
            name,
            f"has {len(values)} different names (most: {most}); is it an identifier?",
            leave_out(name),
        )
    if len(values) > max(_FEW, of / 2) and of:
        raise ColumnError(
            where,
            name,
            f"has {len(values)} different names in {of} rows; is it an identifier or a date?",
            f"leave it out, {list_option('data.drop', [name])}, or say that they are names,"
            f" {list_option('data.categorical', [name])}",
        )
    return CategoricalColumn(name, sorted(values))


def _check_varied(where: str, name: str, count: int, constant: bool, value: str) -> None:
    if not count:
        raise ColumnError(where, name, "has no value in any training row", leave_out(name))
    if constant:
        raise ColumnError(where, name, f"is {value} in every training row", leave_out(name))
