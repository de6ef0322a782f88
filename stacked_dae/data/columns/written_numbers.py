"""Numbers as people write them, with marks between thousands, a currency or a percent sign; and missing values."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from stacked_dae.data.columns.values import NUMBER, Values, name_of

_SIGNS = "$€£¥"
# An apostrophe, or a blank of one of three kinds.
_GAPS = "' \u00a0\u202f"
_THOUSANDS = f",{_GAPS}"
BESIDE = rf"[\s()%+{_SIGNS}-]*"
"""What may stand before and after the digits of a number."""
POINTED_THOUSANDS = rf"[1-9]\d{{0,2}}([.{_GAPS}]\d{{3}})+"
"""Digits whose thousands are parted by points, where the decimal mark is a comma."""
THOUSANDS_MARKS = rf"[.{_GAPS}]"
_GAP = re.compile(rf"\d[{_GAPS}]\d")
_AMBIGUOUS = re.compile(rf"{BESIDE}[1-9]\d{{0,2}},\d{{3}}{BESIDE}", re.ASCII)


def _pattern(marks: str, decimal: str) -> re.Pattern[str]:
    return re.compile(
        rf"([+-]?)\s*([{_SIGNS}]?)\s*([+-]?)"
        rf"([1-9]\d{{0,2}}([{marks}{_GAPS}])\d{{3}}(?:\5\d{{3}})*(?:{decimal}\d*)?|\d+(?:{decimal}\d*)?|{decimal}\d+)"
        rf"\s*([%{_SIGNS}]?)",
        re.ASCII,
    )


_WRITTEN = {".": _pattern(",", r"\."), ",": _pattern(".", ",")}


def written_number(text: str, decimal: str = ".") -> tuple[float, str] | None:
    """Return the number that a text is, and its currency or percent sign; None where it is none.

    1,234.50 is 1234.5, $5 and 5 $ are 5, 12% is 12, and (3) is −3, as accountants write it. With a comma for the
    decimal mark, 1.234,50 is 1234.5.
    """
    text = text.strip()
    in_brackets = text.startswith("(") and text.endswith(")")
    found = _WRITTEN[decimal].fullmatch(text[1:-1].strip() if in_brackets else text)
    if found is None:
        return None
    outer, before, inner, digits, thousands, after = found.groups()
    if (outer and inner) or (before and after) or (in_brackets and (outer or inner)):
        return None
    number = float((digits.replace(thousands, "") if thousands else digits).replace(decimal, "."))
    return -number if "-" in (outer, inner) or in_brackets else number, before or after


def plain_number(text: str) -> tuple[float, str] | None:
    """Return the number that a text is as programs write it, 1e-3 or 12.5, with no sign; None where it is none."""
    return (float(text), "") if NUMBER.fullmatch(text) else None


def is_ambiguous(texts: Iterable[str]) -> bool:
    """Return whether the commas of these numbers may part thousands or be the decimal mark, as in 1,234."""
    with_comma = [text for text in texts if "," in text]
    return bool(with_comma) and all(_AMBIGUOUS.fullmatch(text) for text in with_comma)


def written_numbers(values: Sequence[str | None], decimal: str = ".") -> tuple[NDArray[np.float64], str] | None:
    """Return the numbers that texts are, NaN for None, and the sign that all of them bear; None where one is none.

    Numbers with a percent sign beside others without one are none: what the latter mean can't be known.
    """
    numbers, signs = np.full(len(values), np.nan), set()
    known: dict[str, tuple[float, str]] = {}
    # Without a decimal mark or a sign anywhere, 555 123 may well be a code.
    plain_gaps, certain = False, decimal == ","
    for k, text in enumerate(values):
        if text is None:
            continue
        if text not in known:
            found = written_number(text, decimal)
            if found is None:
                return None
            known[text] = found
            plain_gaps |= _GAP.search(text.strip()) is not None
            certain |= decimal in text or found[1] != ""
        numbers[k], sign = known[text]
        signs.add(sign)
        if len(signs) > 1:
            return None
    if plain_gaps and not certain:
        return None
    return numbers, signs.pop() if signs else ""


def signs_differ(name: str, sign: str) -> str:
    """Return in words that a column has numbers with a currency or percent sign, and others without it."""
    return f"column {name!r} has numbers with {sign!r} and others without it"


def other_sign(name: str, sign: str, expected: str) -> str:
    """Return in words that a column bears another sign than that of the model's training rows."""
    trained = f"with {expected!r}" if expected else "without a sign"
    return f"column {name!r} has numbers with {sign!r}, but the model was trained on numbers {trained}; convert them"


class NaValues:
    """Values that stand for a missing one: by their name where a column holds text, as numbers where it holds numbers.

    Args:
        values: as they are written; -9.50 is -9.5 among numbers.
        decimal: the decimal mark of numbers among them.
    """

    def __init__(self, values: Sequence[str], decimal: str = ".") -> None:
        self._names = {name_of(value) for value in values}
        found = [float(value) for value in values if NUMBER.fullmatch(value)]
        found += [number[0] for value in values if (number := written_number(value, decimal)) is not None]
        # A float32 holds another number than a float64 of the same digits.
        self._numbers = [*found, *(float(np.float32(number)) for number in found)]

    def __bool__(self) -> bool:
        return bool(self._names)

    def without(self, column: Values, *, numbers: bool = False) -> Values:
        """Return a column, (n,), with these values missing; with ``numbers`` text that is one of the numbers, too."""
        if not self:
            return column
        if column.dtype != object:
            return np.where(np.isin(column, self._numbers), np.nan, column)
        return np.array([None if self._has(name_of(value), numbers) else value for value in column], object)

    def _has(self, name: str | None, numbers: bool) -> bool:
        if name is None or name in self._names:
            return name is not None
        return numbers and NUMBER.fullmatch(name) is not None and float(name) in self._numbers
