"""The 95 % interval of an error over test examples: the paper's ±, and Wilson's."""

from __future__ import annotations

import math


def interval(error_percent: float, n: int) -> float:
    """Return half the 95 % binomial interval of an error over ``n`` examples, 1.96 √(p (1 − p) / n), in percent."""
    p = error_percent / 100.0
    return 196.0 * math.sqrt(p * (1.0 - p) / n)


def wilson_interval(wrong: int, n: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval of an error of ``wrong`` in ``n`` examples, in percent; n is at least 1.

    Unlike the paper's it holds on few examples, and is never empty.
    """
    z, p = 1.96, wrong / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return 100.0 * max(0.0, centre - half), 100.0 * min(1.0, centre + half)


def with_interval(error_percent: float, ci95_percent: float) -> str:
    """Return an error with its interval, as ``17.68 ± 2.79``."""
    return f"{error_percent:.2f} ± {ci95_percent:.2f}"
