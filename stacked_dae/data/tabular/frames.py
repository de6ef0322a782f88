"""Rows in memory as a table: pandas DataFrames, mappings of names to arrays, arrays."""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stacked_dae.data.tabular.preprocessing import (
    LARGEST,
    NUMBER,
    CategoricalColumn,
    Preprocessing,
    Values,
    is_missing,
    name_of,
)
from stacked_dae.errors import DataError, suggest


def columns_of(rows: Any, preprocessing: Preprocessing) -> dict[str, Values]:
    """Return the columns of raw rows by name, as :class:`Preprocessing` takes them."""
    names = preprocessing.names
    if hasattr(rows, "keys"):
        keys = [(str(key), key) for key in rows.keys()]  # noqa: SIM118
        there = [name for name, _ in keys]
        for name in names:
            if there.count(name) != 1:
                what = (
                    f"have no column {name!r}{suggest(name, there)}"
                    if name not in there
                    else f"have two columns {name!r}"
                )
                raise DataError(f"the rows {what}; the model was trained on one, so give exactly one")
        found = {name: _objects(rows[key]) for name, key in keys if name in names}
    else:
        array = np.asarray(rows, dtype=object)
        if array.ndim != 2 or array.shape[1] != len(names):
            raise DataError(f"the rows must be (n, {len(names)}), the columns that the model has, not {array.shape}")
        found = {name: array[:, k] for k, name in enumerate(names)}
    lengths = {values.shape for values in found.values()}
    if len(lengths) != 1 or len(next(iter(lengths))) != 1 or not next(iter(lengths))[0]:
        shapes = " and ".join(sorted(map(str, lengths)))
        raise DataError(f"every column must have as many rows, one or more; there are columns of shape {shapes}")
    return {
        column.name: np.array([name_of(v, as_written=preprocessing.as_written) for v in found[column.name]], object)
        if isinstance(column, CategoricalColumn)
        else _numbers_of(column.name, found[column.name])
        for column in preprocessing.columns
    }


def _objects(values: Any) -> NDArray[Any]:
    """Return a column as objects; floats of 32 bits, which would come as 64, in their own width."""
    objects = np.asarray(values, dtype=object)
    if str(getattr(values, "dtype", "")) in ("float32", "Float32", "float[pyarrow]"):
        objects = np.array([value if is_missing(value) else np.float32(value) for value in objects], object)
    return objects


def _numbers_of(name: str, values: NDArray[Any]) -> Values:
    made = np.full(len(values), np.nan)
    for at, value in enumerate(values):
        if is_missing(value) or (isinstance(value, str) and not value.strip()):
            continue
        text = isinstance(value, str) and NUMBER.fullmatch(value) is not None
        # Of NumPy, Decimal and Fraction too.
        if not (text or isinstance(value, (int, float, Real, np.bool_)) or hasattr(value, "as_integer_ratio")):
            raise DataError(f"column {name!r}, row {at + 1} is {value!r}, which is not a number")
        made[at] = float(value)
        if abs(made[at]) > LARGEST:
            raise DataError(f"column {name!r}, row {at + 1} is {value!r}, beyond ±{LARGEST:g}")
    return made
