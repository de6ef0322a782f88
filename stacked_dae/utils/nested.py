"""Nested mappings by dotted key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings as one level of dotted keys; those of an optimiser or a scheduler stay whole."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping) and not name.endswith("options"):
            flat.update(flatten(value, f"{prefix}{name}."))
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def short_key(key: str, keys: Sequence[str]) -> str:
    """Return the last words of a dotted key that no other of ``keys`` ends with."""
    words = key.split(".")
    for count in range(1, len(words)):
        short = ".".join(words[-count:])
        if sum(other == short or other.endswith(f".{short}") for other in keys) == 1:
            return short
    return key


def set_dotted(values: dict[str, Any], key: str, value: Any) -> None:
    """Set a dotted key in nested settings."""
    *path, last = key.split(".")
    for name in path:
        values[name] = dict(values.get(name) or {})
        values = values[name]
    values[last] = value
