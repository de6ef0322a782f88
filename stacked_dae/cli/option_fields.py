"""Read what the fields of an options dataclass say: names on the command line, accepted values."""

from __future__ import annotations

import typing
from collections.abc import Mapping
from dataclasses import fields
from typing import Annotated, Any, Literal

from stacked_dae.utils.type_hints import describe_type, field_types


def argument_choices(cls: type) -> tuple[str, ...]:
    """Return the values that the first positional argument is limited to; empty if it is not."""
    hint = field_types(cls)[fields(cls)[0].name]
    return typing.get_args(hint) if typing.get_origin(hint) is Literal else ()


def flag_of(name: str, metadata: Mapping[str, Any]) -> str:
    """Return the name of a field on the command line, without the two dashes."""
    return str(metadata.get("flag", name))


def read_options(cls: type, values: Mapping[str, Any]) -> Any:
    """Return the options ``cls`` with the parsed ``values``, by field name."""
    return cls(**{f.name: values[f.name] for f in fields(cls)})


def other_values(cls: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parsed ``values`` that are no options of ``cls``: the settings of an experiment."""
    options = {"config", *(f.name for f in fields(cls))}
    return {name: value for name, value in values.items() if name not in options}


def option_names(cls: type) -> list[str]:
    """Return the names of the options, without the two dashes."""
    return [flag_of(f.name, f.metadata) for f in fields(cls) if not f.metadata.get("positional")]


def accepted_values(cls: type, flag: str) -> str:
    """Return in words what the option or argument ``flag`` takes; empty if there is none of that name."""
    found = next((f for f in fields(cls) if flag in (f.name, flag_of(f.name, f.metadata))), None)
    return "" if found is None else _describe(field_types(cls, include_extras=True)[found.name])


def _describe(hint: Any) -> str:
    texts = [part for part in (typing.get_args(hint) or (hint,)) if part is not type(None)]
    if typing.get_origin(hint) is Annotated:
        return str(hint.__metadata__[0])
    if typing.get_origin(hint) is Literal:
        return describe_type(hint)
    return " or ".join(_describe(part) if part is not hint else describe_type(part) for part in texts)
