"""Numbers as people write them, with marks between thousands, a currency or a percent sign; and missing values."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from stacked_dae.data.columns.values import NUMBER, Values, name_of

_SIGNS = "$€£¥"
# A comma, an apostrophe, or a blank of one of three kinds.
_THOUSANDS = ",' \u00a0\u202f"
_WRITTEN = re.compile(
    rf"([+-]?)\s*([{_SIGNS}]?)\s*([+-]?)"
    rf"(\d{{1,3}}([{_THOUSANDS}])\d{{3}}(?:\5\d{{3}})*(?:\.\d*)?|\d+\.?\d*|\.\d+)\s*([%{_SIGNS}]?)",
    re.ASCII,
)


def written_number(text: str) -> tuple[float, str] | None:
    """Return the number that a text is, and its currency or percent sign; None where it is none.

    1,234.50 is 1234.5, $5 and 5 $ are 5, 12% is 12, and (3) is −3, as accountants write it.
    """
    text = text.strip()
    in_brackets = text.startswith("(") and text.endswith(")")
    found = _WRITTEN.fullmatch(text[1:-1].strip() if in_brackets else text)
    if found is None:
        return None
    outer, before, inner, digits, thousands, after = found.groups()
    if (outer and inner) or (before and after) or (in_brackets and (outer or inner)):
        return None
    number = float(digits.replace(thousands, "") if thousands else digits)
    return -number if "-" in (outer, inner) or in_brackets else number, before or after


def written_numbers(values: Sequence[str | None]) -> tuple[NDArray[np.float64], str] | None:
    """Return the numbers that texts are, NaN for None, and the sign that all of them bear; None where one is none.

    Numbers with a percent sign beside others without one are none: what the latter mean can't be known.
    """
    numbers, signs = np.full(len(values), np.nan), set()
    known: dict[str, tuple[float, str]] = {}
    for k, text in enumerate(values):
        if text is None:
            continue
        if text not in known:
            found = written_number(text)
            if found is None:
                return None
            known[text] = found
        numbers[k], sign = known[text]
        signs.add(sign)
        if len(signs) > 1:
            return None
    return numbers, signs.pop() if signs else ""


def without_missing(values: Values, na_values: Sequence[str]) -> Values:
    """Return a column with those values missing that ``na_values`` name; numbers, where what is left are."""
    if not na_values:
        return values
    if values.dtype != object:
        named = [float(name) for name in na_values if NUMBER.fullmatch(name)]
        return np.where(np.isin(values, named), np.nan, values)
    names = {name_of(name) for name in na_values}
    return np.array([None if value in names else value for value in values], object)
