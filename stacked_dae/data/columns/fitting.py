"""Columns fitted to the training rows of a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from stacked_dae.data.columns.columns import CategoricalColumn, NumericColumn
from stacked_dae.data.columns.errors import ColumnError, ConstantColumnError, leave_out, list_option

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


def moments_of(values: NDArray[np.float64]) -> RunningMoments:
    """Return the moments of these values, (n,); NaN are passed over."""
    moments = RunningMoments()
    moments.add(values)
    return moments


def fit_target(name: str, values: NDArray[np.float64], sign: str) -> NumericColumn:
    """Return the target of a regression, standardised by these training values, (n,), NaN where there is none."""
    moments = moments_of(values)
    return NumericColumn(name, moments.mean, moments.deviation, True, sign)


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
        raise ConstantColumnError(where, name, "has no value in any training row", leave_out(name))
    if constant:
        raise ConstantColumnError(where, name, f"is {value} in every training row", leave_out(name))
