"""What every setting is: its name, what it takes, its default and its description."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import MISSING, dataclass, fields, is_dataclass
from typing import Any

from docstring_parser import parse_from_object

from stacked_dae.config.schema import Config
from stacked_dae.utils.type_hints import describe_type, field_types


@dataclass(frozen=True)
class Setting:
    """A setting of an experiment.

    Args:
        name: its dotted name.
        takes: the values that it takes, in words.
        default: as YAML has it.
        text: what it decides.
    """

    name: str
    takes: str
    default: str
    text: str

    @property
    def part(self) -> str:
        """The part of the experiment that it belongs to."""
        return self.name.partition(".")[0] if "." in self.name else "experiment"


def all_settings(cls: Any = Config, prefix: str = "") -> Iterator[Setting]:
    """Yield every setting in the order of the settings file."""
    hints = field_types(cls)
    texts = {param.arg_name: param.description or "" for param in parse_from_object(cls).params}
    for field in fields(cls):
        hint, name = hints[field.name], f"{prefix}{field.name}"
        if is_dataclass(hint):
            yield from all_settings(hint, f"{name}.")
            continue
        default = field.default if field.default_factory is MISSING else field.default_factory()
        yield Setting(name, describe_type(hint), _shown(default), " ".join(texts.get(field.name, "").split()))


def _shown(value: Any) -> str:
    """Return a default as YAML has it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list):
        return f"[{', '.join(map(_shown, value))}]"
    return f"{value:g}" if isinstance(value, float) else str(value)
