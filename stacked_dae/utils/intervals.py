"""The 95 % binomial interval of an error over test examples, the paper's ±."""

from __future__ import annotations

import math


def interval(error_percent: float, n: int) -> float:
    """Return half the 95 % binomial interval of an error over ``n`` examples, 1.96 √(p (1 − p) / n), in percent."""
    p = error_percent / 100.0
    return 196.0 * math.sqrt(p * (1.0 - p) / n)


def with_interval(error_percent: float, ci95_percent: float) -> str:
    """Return an error with its interval, as ``17.68 ± 2.79``."""
    return f"{error_percent:.2f} ± {ci95_percent:.2f}"
