"""Rows in memory as a table: frames of pandas, polars and pyarrow, mappings of names to arrays, arrays."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stacked_dae.data.arrays import array_of
from stacked_dae.data.columns.columns import CategoricalColumn, NumericColumn
from stacked_dae.data.columns.errors import listed
from stacked_dae.data.columns.preprocessing import Preprocessing
from stacked_dae.data.columns.values import LARGEST, Values, is_missing, name_of
from stacked_dae.data.columns.written_numbers import (
    NaValues,
    is_ambiguous,
    other_sign,
    plain_number,
    signs_differ,
    written_number,
)
from stacked_dae.errors import DataError, suggest, warn_caller


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
            warn_caller(f"the model has no {listed(extra)}; passed over")
    else:
        array = array_of("the rows", rows, object)
        if array.ndim != 2 or array.shape[1] != len(names):
            shown = f"{', '.join(names[:6])}{', …' if len(names) > 6 else ''}"
            raise DataError(f"the rows must be (n, {len(names)}), the model's columns {shown}, not {array.shape}")
        found = {name: array[:, k] for k, name in enumerate(names)}
    lengths = {values.shape for values in found.values()}
    if len(lengths) != 1 or len(next(iter(lengths))) != 1 or not next(iter(lengths))[0]:
        shapes = " and ".join(sorted(map(str, lengths)))
        raise DataError(f"every column must have as many rows, one or more; there are columns of shape {shapes}")
    decimal = preprocessing.reading.decimal
    na_values = NaValues(preprocessing.reading.na_values, decimal or ".")
    found = {name: na_values.without(values) for name, values in found.items()}
    return {
        column.name: np.array([name_of(v, as_written=preprocessing.as_written) for v in found[column.name]], object)
        if isinstance(column, CategoricalColumn)
        else na_values.without(_numbers_of(column, na_values.without(found[column.name], numbers=True), decimal))
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


def _numbers_of(column: NumericColumn, values: Values, said: str | None) -> Values:
    """Return a column as numbers; ``said`` is the decimal mark of its text, if it was said."""
    decimal = said or "."
    name, made, signs = column.name, np.full(len(values), np.nan), set()
    if said is None and is_ambiguous(value for value in values if isinstance(value, str)):
        value = next(value for value in values if isinstance(value, str) and "," in value)
        raise DataError(f"column {name!r} has {value!r}, whose comma may part thousands or be the decimal mark")
    for at, value in enumerate(values):
        if is_missing(value) or (isinstance(value, str) and not value.strip()):
            continue
        number = value
        if isinstance(value, str):
            found = plain_number(value) if decimal == "." else None
            found = found or written_number(value, decimal)
            number = None if found is None else found[0]
            signs.add("" if found is None else found[1])
        # Of NumPy, Decimal and Fraction too.
        is_number = isinstance(number, (int, float, Real)) or hasattr(number, "as_integer_ratio")
        if not is_number or isinstance(number, (bool, np.bool_)):
            raise DataError(f"column {name!r}, row {at + 1} is {value!r}, which is not a number")
        made[at] = float(number)
        if abs(made[at]) > LARGEST:
            raise DataError(f"column {name!r}, row {at + 1} is {value!r}, beyond ±{LARGEST:g}")
    if len(signs) > 1:
        raise DataError(f"{signs_differ(name, max(signs))}; write them alike")
    sign = max(signs, default="")
    if sign and sign != column.sign:
        raise DataError(other_sign(name, sign, column.sign))
    return made
