"""The 95 % interval of an error over test examples: the paper's ±, and Wilson's."""

from __future__ import annotations

import math

# Wrong, or right, examples below which the normal distribution says too little.
_FEW = 5


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


def _are_few(error_percent: float, n: int) -> bool:
    """Return whether so few are wrong, or right, that the normal distribution says too little."""
    wrong = round(error_percent / 100.0 * n)
    return min(wrong, n - wrong) < _FEW


def error_bounds(error_percent: float, n: int) -> tuple[float, float]:
    """Return the 95 % interval of an error over ``n`` examples, in percent: Wilson's where few are wrong or right."""
    if _are_few(error_percent, n):
        return wilson_interval(round(error_percent / 100.0 * n), n)
    half = interval(error_percent, n)
    return error_percent - half, error_percent + half


def with_interval(error_percent: float, ci95_percent: float, n: int | None = None) -> str:
    """Return an error with its interval, as ``17.68 ± 2.79``, or ``0.00 (0.00 to 10.15)`` with Wilson's bounds.

    Args:
        error_percent: the error.
        ci95_percent: half its binomial interval. It does not hold, and may be 0, where few examples are wrong or few
            are right; then the bounds stand in its place.
        n: number of examples; None where it is not known, for the ± alone.
    """
    if n and _are_few(error_percent, n):
        low, high = error_bounds(error_percent, n)
        return f"{error_percent:.2f} ({low:.2f} to {high:.2f})"
    return f"{error_percent:.2f} ± {ci95_percent:.2f}"
