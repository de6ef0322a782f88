"""Type hints of settings: whether a value fits one, and in words what does."""

from __future__ import annotations

import types
import typing
from functools import cache
from typing import Any, Literal

Auto = Literal["auto"]
"""A setting whose value follows from the data."""

# Larger whole numbers do not fit a float.
_LARGEST = 10**300


@cache
def field_types(cls: type, include_extras: bool = False) -> dict[str, Any]:
    """Return the type of each field of a dataclass; cached, since one command reads many run folders.

    Args:
        cls: the dataclass.
        include_extras: keep what ``Annotated`` adds.
    """
    return typing.get_type_hints(cls, include_extras=include_extras)


def matches_type(hint: Any, value: Any) -> bool:
    """Return whether ``value`` is of the type ``hint``; a whole number is a number too, true and false are not."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return any(matches_type(part, value) for part in inner)
    if origin is Literal:
        return any(value is choice or (isinstance(value, str) and value == choice) for choice in inner)
    if origin is list:
        return isinstance(value, list) and all(matches_type(inner[0], item) for item in value)
    if origin is dict:
        # Of an optimiser's options: names, and plain values or lists of them.
        parts = (
            [part for item in value.values() for part in (item if isinstance(item, list) else [item])]
            if (isinstance(value, dict))
            else [value]
        )
        plain = (str, int, float, bool, type(None))
        return isinstance(value, dict) and all(isinstance(part, plain) for part in [*value, *parts])
    if hint is dict:
        return isinstance(value, dict)
    if hint is float:
        whole = isinstance(value, int) and not isinstance(value, bool) and abs(value) <= _LARGEST
        return whole or isinstance(value, float)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, hint)


def describe_type(hint: Any) -> str:
    """Return in words what values fit ``hint``."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return " or ".join(_describe_part(part, inner) for part in inner)
    if origin is Literal:
        return f"one of {', '.join(inner)}" if len(inner) > 1 else str(inner[0])
    if origin is list and typing.get_origin(inner[0]) is Literal:
        return f"a list of some of {', '.join(typing.get_args(inner[0]))} ('[{_example(inner[0])}]')"
    if origin is list:
        return f"a list ('[{_example(inner[0])}]')"
    words = {int: "a whole number", float: "a number", str: "text", bool: "true or false", type(None): "null"}
    return words.get(hint, "a mapping of names to numbers, text, true, false or lists of them")


def _describe_part(hint: Any, parts: tuple[Any, ...]) -> str:
    """Return in words one of the ``parts`` of a union; a list of what another part is has one value per layer."""
    if typing.get_origin(hint) is not list:
        return describe_type(hint)
    item = typing.get_args(hint)[0]
    example = f"([{', '.join(2 * [_example(item)])}])"
    return f"a list of such, one per layer {example}" if item in parts else f"a list {example}"


def _example(hint: Any) -> str:
    if typing.get_origin(hint) is Literal:
        return str(typing.get_args(hint)[0])
    return {int: "500", float: "0.1"}.get(hint, "one, two")
