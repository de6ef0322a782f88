"""The columns of a table: each gives inputs of a network, scaled or one-hot, and takes them back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stacked_dae.data.columns.values import Values
from stacked_dae.errors import DataError

# In standard deviations.
_FAR = 1e30
# What a value that the training rows did not have counts as.
UNSEEN = "(unseen)"


@dataclass(frozen=True)
class NumericColumn:
    """A column of numbers, one input: (value − shift) / width.

    In min-max scaling ``shift`` is the least training value and ``width`` their span, and values beyond are clipped to
    [0, 1]. In standardising they are mean and standard deviation. ``sign`` is the currency or percent sign that the
    training rows bear in the file, if any.
    """

    name: str
    shift: float
    width: float
    standardised: bool
    sign: str = ""

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

    def restore(self, inputs: NDArray[Any]) -> Values:
        """Return the values that inputs, (n, 1), stand for."""
        values: Values = inputs[:, 0].astype(np.float64) * self.width + self.shift
        return values

    def errors(self, values: Values, inputs: NDArray[Any]) -> NDArray[np.float64]:
        """Return the squared error of ``inputs``, (n, 1), in widths of the column, (n,); values are not clipped."""
        errors: NDArray[np.float64] = np.square((values - self.shift) / self.width - inputs[:, 0])
        return errors


@dataclass(frozen=True)
class PixelColumn(NumericColumn):
    """A column of the pixels of images, from 0 to 1: nothing of it is fitted, and it may be constant."""

    shift: float = 0.0
    width: float = 1.0
    standardised: bool = False
    pixel: bool = True

    def transform(self, values: Values) -> NDArray[np.float32]:
        """Return the inputs, (n, 1), NaN where a value is missing.

        Raises:
            DataError: a value is not from 0 to 1.
        """
        check_pixels(values)
        return values.astype(np.float32)[:, None]


def check_pixels(values: NDArray[Any]) -> None:
    """Raise DataError where a pixel is not from 0 to 1."""
    with np.errstate(invalid="ignore"):
        beyond = (values < 0.0) | (values > 1.0)
    if beyond.any():
        raise DataError(
            f"a pixel is {values[beyond][0]:g}; pixels are floats from 0 to 1, or bytes (uint8) in an array; convert"
            " them"
        )


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

    def restore(self, inputs: NDArray[Any]) -> Values:
        """Return the names that inputs, (n, number of values + 1), come nearest to, of those in the training rows."""
        names: Values = np.array(self.values, object)[inputs[:, :-1].argmax(1)]
        return names

    def errors(self, values: Values, inputs: NDArray[Any]) -> NDArray[np.float64]:
        """Return half the squared error of ``inputs``, (n,): 1 for another name, NaN where one is missing."""
        half: NDArray[np.float64] = np.square(self.transform(values).astype(np.float64) - inputs).sum(1) / 2
        return half


Column = NumericColumn | CategoricalColumn
