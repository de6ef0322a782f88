"""Checks of single settings, each with its one-line error."""

from __future__ import annotations

import math
from dataclasses import MISSING, fields
from typing import Any, TypeVar

from stacked_dae.errors import ConfigError, suggest

T = TypeVar("T")

# Of anything that is counted: what an index can hold.
_LARGEST = 2**31 - 1


def _require(ok: bool, message: str) -> None:
    if not ok:
        raise ConfigError(message)


def _default(cls: type, name: str) -> Any:
    """Return what a setting is when it is not given."""
    (found,) = (f for f in fields(cls) if f.name == name)
    return found.default if found.default_factory is MISSING else found.default_factory()


def _values(value: T | list[T]) -> list[T]:
    return value if isinstance(value, list) else [value]


def _positive_int(name: str, value: Any) -> None:
    _require(isinstance(value, int) and value > 0, f"{name} must be a whole number above 0, not {value!r}")
    _require(value <= _LARGEST, f"{name} must be at most {_LARGEST}, not {value!r}")


def _number(name: str, value: float, low: float, high: float = math.inf, *, open_low: bool = False) -> None:
    inside = math.isfinite(value) and (value > low if open_low else value >= low) and value <= high
    if math.isinf(high):
        span = f"above {low:g}" if open_low else f"at least {low:g}"
    else:
        span = f"in {'(' if open_low else '['}{low:g}, {high:g}]"
    _require(inside, f"{name} must be {span}, not {value!r}")


def _choice(name: str, value: Any, literal: Any) -> None:
    choices = literal.__args__
    _require(
        value in choices, f"{name} must be one of {', '.join(choices)}, not {value!r}{suggest(str(value), choices)}"
    )
