"""Rows in memory as a table: frames of pandas, polars and pyarrow, mappings of names to arrays, arrays."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stacked_dae.data.arrays import array_of
from stacked_dae.data.columns.columns import CategoricalColumn
from stacked_dae.data.columns.errors import listed
from stacked_dae.data.columns.preprocessing import Preprocessing
from stacked_dae.data.columns.values import LARGEST, NUMBER, Values, is_missing, name_of
from stacked_dae.data.columns.written_numbers import written_number
from stacked_dae.errors import DataError, suggest


def columns_of(rows: Any, preprocessing: Preprocessing) -> dict[str, Values]:
    """Return the columns of raw rows by name, as :class:`Preprocessing` takes them.

    Rows whose columns have names are matched by them; a column that the model does not know is passed over with a
    warning. Others, an (n, columns) array, have them in the model's order.

    Raises:
        DataError: a column is not there, is there twice, or holds what the model does not take.
    """
    names, own = preprocessing.names, column_names(rows)
    if own is not None:
        keys = [(str(key), key) for key in own]
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
        extra = preprocessing.unknown(there)
        if extra:
            warnings.warn(f"the model has no {listed(extra)}; passed over", stacklevel=4)
    else:
        array = array_of("the rows", rows, object)
        if array.ndim != 2 or array.shape[1] != len(names):
            raise DataError(f"the rows must be (n, {len(names)}), the columns that the model has, not {array.shape}")
        found = {name: array[:, k] for k, name in enumerate(names)}
    lengths = {values.shape for values in found.values()}
    if len(lengths) != 1 or len(next(iter(lengths))) != 1 or not next(iter(lengths))[0]:
        shapes = " and ".join(sorted(map(str, lengths)))
        raise DataError(f"every column must have as many rows, one or more; there are columns of shape {shapes}")
    na_values = preprocessing.reading.na_values
    if na_values:
        missing = {name_of(name) for name in na_values}
        found = {
            name: _object_array([None if name_of(value) in missing else value for value in values])
            for name, values in found.items()
        }
    return {
        column.name: np.array([name_of(v, as_written=preprocessing.as_written) for v in found[column.name]], object)
        if isinstance(column, CategoricalColumn)
        else _numbers_of(column.name, found[column.name])
        for column in preprocessing.columns
    }


def column_names(rows: Any) -> list[Any] | None:
    """Return the names of the columns of a frame, mapping or structured array; None where they have none.

    Raises:
        DataError: it is a frame of a query that has not run.
    """
    if hasattr(rows, "collect"):
        raise DataError(f"the rows are a {type(rows).__name__}, a query that has not run; give rows.collect()")
    if hasattr(rows, "keys"):
        return list(rows.keys())
    for names in (getattr(rows, "column_names", None), getattr(rows, "columns", None)):
        if isinstance(names, list) and all(isinstance(name, str) for name in names):
            return names
    fields = getattr(getattr(rows, "dtype", None), "names", None)
    return None if fields is None else list(fields)


def frame_like(rows: Any, columns: Mapping[str, Values]) -> Any:
    """Return columns as a frame of the library that ``rows`` is of, with its index; as a dict if of none."""
    plain = {name: values.tolist() if values.dtype == object else values for name, values in columns.items()}
    library = type(rows).__module__.partition(".")[0]
    if library == "pandas" and hasattr(rows, "index"):
        return type(rows)(plain, index=rows.index)
    if library == "polars":
        return type(rows)(plain)
    if library == "pyarrow":
        return type(rows).from_pydict(plain)
    return dict(columns)


def _objects(values: Any) -> NDArray[Any]:
    """Return a column as objects; floats of 32 bits, which would come as 64, in their own width."""
    # Of pyarrow and polars: NumPy makes floats of whole numbers beside a null, and a name of a null in a dictionary.
    listed = getattr(values, "to_pylist", None) or (getattr(values, "to_list", None) if _is_polars(values) else None)
    objects = np.asarray(values, dtype=object) if listed is None else _object_array(listed())
    kind = str(getattr(values, "dtype", getattr(values, "type", "")))
    if kind in ("float32", "Float32", "float[pyarrow]", "float"):
        objects = np.array([value if is_missing(value) else np.float32(value) for value in objects], object)
    return objects


def _is_polars(values: Any) -> bool:
    return type(values).__module__.partition(".")[0] == "polars"


def _object_array(values: list[Any]) -> NDArray[Any]:
    found = np.empty(len(values), dtype=object)
    found[:] = values
    return found


def _numbers_of(name: str, values: NDArray[Any]) -> Values:
    made, signs = np.full(len(values), np.nan), set()
    for at, value in enumerate(values):
        if is_missing(value) or (isinstance(value, str) and not value.strip()):
            continue
        text = isinstance(value, str) and NUMBER.fullmatch(value) is not None
        if isinstance(value, str) and not text and (found := written_number(value)) is not None:
            text, (value, sign) = True, found
            signs.add(sign)
        elif text:
            signs.add("")
        if len(signs) > 1:
            raise DataError(f"column {name!r} has numbers with {max(signs)!r} and others without; write them alike")
        # Of NumPy, Decimal and Fraction too.
        if not (text or isinstance(value, (int, float, Real, np.bool_)) or hasattr(value, "as_integer_ratio")):
            raise DataError(f"column {name!r}, row {at + 1} is {value!r}, which is not a number")
        made[at] = float(value)
        if abs(made[at]) > LARGEST:
            raise DataError(f"column {name!r}, row {at + 1} is {value!r}, beyond ±{LARGEST:g}")
    return made
