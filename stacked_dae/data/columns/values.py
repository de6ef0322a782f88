"""Single values of a table: numbers, names, missing ones."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

Values = NDArray[Any]
"""The values of one column, (n,): float64 with NaN where one is missing, or objects, text or None."""

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


def first_wrong(values: Values) -> tuple[int, str] | None:
    """Return the place of the first value that is not a number, infinite or too large, and what it is; else None."""
    if values.dtype == object:
        at, text = next((i, v) for i, v in enumerate(values) if v is not None and not NUMBER.fullmatch(v))
        return at, f"{text!r}, which is not a number"
    with np.errstate(invalid="ignore"):
        far = np.flatnonzero(np.abs(values) > LARGEST)
    if not len(far):
        return None
    value = values[far[0]]
    what = "infinite" if np.isinf(value) else f"{value:g}, beyond ±{LARGEST:g}"
    return int(far[0]), what


def canonical(values: Values) -> Values:
    """Return names, (n,), as the first versions wrote them (:func:`name_of`); numbers stay."""
    if values.dtype != object:
        return values
    names = {value: name_of(value, as_written=False) for value in set(values)}
    return np.array([names[value] for value in values], object)
