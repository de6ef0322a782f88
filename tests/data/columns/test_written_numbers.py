"""Numbers as people write them."""

from __future__ import annotations

import numpy as np
import pytest

from stacked_dae.data.columns.reading import Reading
from stacked_dae.data.columns.written_numbers import NaValues, is_ambiguous, written_number, written_numbers


@pytest.mark.parametrize(
    ("text", "number", "sign"),
    [
        ("5", 5.0, ""),
        (" -1.5 ", -1.5, ""),
        (".5", 0.5, ""),
        ("1,234", 1234.0, ""),
        ("1,234,567.25", 1234567.25, ""),
        ("1'234", 1234.0, ""),
        ("12 345", 12345.0, ""),
        ("12\u202f345", 12345.0, ""),
        ("$1,234.50", 1234.5, "$"),
        ("-$5", -5.0, "$"),
        ("$-5", -5.0, "$"),
        ("5 €", 5.0, "€"),
        ("£ 0.10", 0.1, "£"),
        ("12%", 12.0, "%"),
        ("12.5 %", 12.5, "%"),
        ("(1,234)", -1234.0, ""),
        ("($5)", -5.0, "$"),
    ],
)
def test_a_number_is_read_with_its_sign(text, number, sign):
    assert written_number(text) == (number, sign)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "abc",
        "1,23",
        "1,2345",
        ",123",
        "12,34,567",
        "1,234'567",
        "0,123,4",
        "$",
        "%",
        "5%%",
        "$5€",
        "+-5",
        "(-5)",
        "5 EUR",
        "1.2.3",
        "2020-01-01",
        "12:30",
        "1 2",
        "1,234 567",
        "$ 5 %",
        "１２",
    ],
)
def test_other_text_is_no_number(text):
    assert written_number(text) is None


def test_a_column_has_one_sign():
    numbers, sign = written_numbers(["$1,000", None, "$5"])
    assert sign == "$"
    assert np.array_equal(numbers, [1000, np.nan, 5], equal_nan=True)
    assert written_numbers(["1,000", "5"])[1] == ""
    assert written_numbers(["5%", "0.05"]) is None
    assert written_numbers(["$5", "€5"]) is None
    assert written_numbers(["$5", "none"]) is None


def test_codes_with_gaps_are_no_numbers():
    assert written_numbers(["555 123", "555 124"]) is None
    assert written_numbers(["1 234.5", "1 234"])[0].tolist() == [1234.5, 1234]
    assert written_numbers(["$1 234", "$5"])[0].tolist() == [1234, 5]
    assert written_numbers(["1 234", "5"], ",")[0].tolist() == [1234, 5]


def test_values_that_stand_for_none_are_missing():
    names = np.array(["a", "?", None, "-999", "-999.0"], object)
    assert NaValues(["?", "-999"]).without(names).tolist() == ["a", None, None, None, None]
    numbers = np.array([1.0, -999.0, np.nan, -9.5, np.float32(-99.9)])
    found = NaValues(["?", "-999.0", "-9.50", "-9.99e1"]).without(numbers)
    assert np.array_equal(found, [1, np.nan, np.nan, np.nan, np.nan], equal_nan=True)
    assert NaValues([]).without(numbers) is numbers
    # A name is text, unless the column turns out to hold numbers.
    codes = np.array(["007", "x"], object)
    assert NaValues(["7"]).without(codes).tolist() == ["007", "x"]
    assert NaValues(["7"]).without(codes, numbers=True).tolist() == [None, "x"]
    assert np.isnan(NaValues(["-99,9"], ",").without(np.array([-99.9]))).all()


@pytest.mark.parametrize(
    ("text", "number"), [("1.234,50", 1234.5), ("1 234,5 €", 1234.5), ("1.234", 1234), ("0,5%", 0.5)]
)
def test_the_decimal_mark_may_be_a_comma(text, number):
    assert written_number(text, ",")[0] == number
    assert written_number("1.5", ",") is None


def test_a_comma_may_mean_two_things():
    assert is_ambiguous(["1,234", "56", "$7,890"])
    assert not is_ambiguous(["1,234", "1,234.5"])
    assert not is_ambiguous(["56", "7.5"])
    assert written_number("0,123") is None


def test_what_was_said_comes_back():
    assert Reading().to_dict() == {}
    said = Reading(";", ",", False, ("?",), True)
    assert Reading.from_dict(said.to_dict()) == said
    for damaged in (None, [], {"header": 1}, {"na_values": "?"}, {"colour": "red"}):
        with pytest.raises(ValueError, match="damaged"):
            Reading.from_dict(damaged)
