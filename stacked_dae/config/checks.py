"""Checks of single settings, each with its one-line error."""

from __future__ import annotations

import math
from dataclasses import MISSING, fields
from typing import Any, TypeVar

from stacked_dae.errors import ConfigError, suggest

T = TypeVar("T")

# Of anything that is counted: what an index can hold.
_LARGEST = 2**31 - 1


def require(ok: bool, message: str) -> None:
    """Raise ConfigError with ``message`` unless ``ok``."""
    if not ok:
        raise ConfigError(message)


def default_of(cls: type, name: str) -> Any:
    """Return the default of a dataclass field; ``...`` where it has none."""
    (found,) = (f for f in fields(cls) if f.name == name)
    if found.default_factory is not MISSING:
        return found.default_factory()
    return ... if found.default is MISSING else found.default


def as_list(value: T | list[T]) -> list[T]:
    """Return a list as it is, another value as a list of itself."""
    return value if isinstance(value, list) else [value]


def require_positive_int(name: str, value: Any) -> None:
    """Raise ConfigError unless ``value`` is a whole number from 1 to 2³¹ − 1."""
    require(isinstance(value, int) and value > 0, f"{name} must be a whole number above 0, not {value!r}")
    require(value <= _LARGEST, f"{name} must be at most {_LARGEST}, not {value!r}")


def require_number(name: str, value: float, low: float, high: float = math.inf, *, open_low: bool = False) -> None:
    """Raise ConfigError unless ``value`` is finite and in [``low``, ``high``], or above ``low`` with ``open_low``."""
    inside = math.isfinite(value) and (value > low if open_low else value >= low) and value <= high
    if math.isinf(high):
        span = f"above {low:g}" if open_low else f"at least {low:g}"
    else:
        span = f"in {'(' if open_low else '['}{low:g}, {high:g}]"
    require(inside, f"{name} must be {span}, not {value!r}")


def require_choice(name: str, value: Any, literal: Any) -> None:
    """Raise ConfigError unless ``value`` is one of those of the type ``literal``."""
    choices = literal.__args__
    require(
        value in choices, f"{name} must be one of {', '.join(choices)}, not {value!r}{suggest(str(value), choices)}"
    )
