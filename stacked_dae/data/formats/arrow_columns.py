"""Columns of pyarrow's, and text, as numbers or names."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from stacked_dae.data.columns.errors import leave_out
from stacked_dae.data.columns.values import NUMBER, Values, name_of
from stacked_dae.errors import DataError


def describe_unusable(schema: Any) -> dict[str, str]:
    """Return what the columns of a pyarrow schema hold that are neither numbers nor text, by name."""
    import pyarrow as pa

    found = {}
    for field in schema:
        kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
        tests = (
            pa.types.is_null,
            pa.types.is_string,
            pa.types.is_string_view,
            pa.types.is_large_string,
            pa.types.is_boolean,
            pa.types.is_integer,
            pa.types.is_floating,
            pa.types.is_decimal,
        )
        if not any(test(kind) for test in tests):
            found[field.name] = str(kind)
    return found


def column_values(path: Path, name: str, column: Any, *, as_text: bool) -> Values:
    """Return a column of pyarrow's."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.dictionary_decode()
        kind = column.type
    if pa.types.is_string_view(kind):
        column, kind = column.cast(pa.string()), pa.string()
    if pa.types.is_null(kind):
        return np.full(len(column), None, object) if as_text else np.full(len(column), np.nan)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        if not as_text:
            found = _plain_numbers(column)
            if found is not None:
                return found
            blank = pc.match_substring_regex(column, r"^\s*$")
            numeric = pc.or_(blank, pc.match_substring_regex(column, f"^{NUMBER.pattern}$"))
            if pc.all(numeric, min_count=0).as_py():
                trimmed = pc.utf8_trim_whitespace(pc.if_else(blank, None, column))
                return np.asarray(trimmed.cast(pa.float64()).to_numpy(zero_copy_only=False), dtype=np.float64)
        # Each different text is looked at once.
        encoded = column.dictionary_encode()
        known = names_of([*encoded.dictionary.to_pylist(), None])
        names = known[encoded.indices.fill_null(len(known) - 1).to_numpy(zero_copy_only=False)]
        return names if as_text else numbers_where_all_are(names)
    if as_text and (pa.types.is_timestamp(kind) or pa.types.is_date(kind)):
        return names_of(column.cast(pa.string()).to_pylist())
    is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    if pa.types.is_boolean(kind) or (as_text and is_number):
        # By way of NumPy's numbers where they are exact, as text where they are not.
        return names_of(_scalars(column, kind))
    if not is_number:
        raise DataError(f"{path}: column {name!r} holds {kind}, neither numbers nor text; {leave_out(name)}")
    numbers = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return np.asarray(numbers, dtype=np.float64)


def _plain_numbers(column: Any) -> Values | None:
    """Return a column of text as numbers where each is one as it stands, else None; a tenth of the time of patterns."""
    import pyarrow as pa

    try:
        numbers = column.cast(pa.float64())
    except pa.ArrowInvalid:
        return None
    found = np.asarray(numbers.to_numpy(zero_copy_only=False), dtype=np.float64)
    # Text such as nan and inf is no number here.
    return found if (np.isfinite(found).sum() + numbers.null_count) == len(found) else None


def _scalars(column: Any, kind: Any) -> list[Any]:
    """Return the values of a column, floats of their own width."""
    import pyarrow as pa

    values = column.to_pylist()
    if pa.types.is_float32(kind) or pa.types.is_float16(kind):
        width = np.float32 if pa.types.is_float32(kind) else np.float16
        return [None if value is None else width(value) for value in values]
    return list(values)


def names_of(values: Iterable[Any]) -> Values:
    """Return values as names, None for missing ones."""
    return np.array([name_of(value) for value in values], object)


def numbers_where_all_are(names: Values) -> Values:
    """Return names as numbers, NaN for missing ones; names, where one is not a number."""
    if all(name is None or NUMBER.fullmatch(name) for name in names):
        return np.array([np.nan if name is None else float(name) for name in names])
    return names
