"""An error with its interval, also where few examples are wrong."""

from __future__ import annotations

import pytest
from scipy.stats import binomtest

from stacked_dae.utils.intervals import interval, wilson_interval, with_interval


@pytest.mark.parametrize(("wrong", "n"), [(0, 1), (0, 34), (1, 34), (4, 34), (30, 34), (34, 34), (17, 9000)])
def test_bounds_are_those_of_scipy(wrong, n):
    expected = binomtest(wrong, n).proportion_ci(0.95, method="wilson")
    # 1.96 stands for 1.95996.
    assert wilson_interval(wrong, n) == pytest.approx((100 * expected.low, 100 * expected.high), abs=2e-3)


@pytest.mark.parametrize(
    ("wrong", "n", "text"),
    [
        (0, 34, "0.00 (0.00 to 10.15)"),
        (34, 34, "100.00 (89.85 to 100.00)"),
        (4, 34, "11.76 (4.67 to 26.62)"),
        (5, 34, "14.71 ± 11.90"),
        (4, 5, "80.00 (37.55 to 96.38)"),
        (126, 717, "17.57 ± 2.79"),
    ],
)
def test_an_interval_is_never_empty(wrong, n, text):
    error = 100 * wrong / n
    assert with_interval(error, interval(error, n), n) == text


def test_the_number_of_examples_may_be_unknown():
    assert with_interval(3.07, 0.15) == "3.07 ± 0.15"
