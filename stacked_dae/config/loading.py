"""The settings of an experiment as nested plain dictionaries and by dotted key, and their fingerprint."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_args

from stacked_dae.config.schema import Config
from stacked_dae.errors import ConfigError, suggest
from stacked_dae.utils.type_hints import describe_type, field_types, matches_type
from stacked_dae.utils.yaml_io import read_yaml

# A value in an error: its beginning is enough.
_SHORT = reprlib.Repr()
_SHORT.maxlevel = 2

RECIPES: Mapping[str, Path] = {file.stem: file for file in sorted((Path(__file__).parent / "recipes").glob("*.yaml"))}
"""The settings files of the package by their names: ``regression`` and ``table``."""


def config_from_dict(values: Mapping[str, Any], source: str = "", *, recipe: str | None = None) -> Config:
    """Return the Config that ``values`` (nested plain dictionaries) describes.

    Args:
        values: settings; absent ones have those of the recipe, and without one their defaults, which suit images.
        source: where the settings come from, for the text of an error.
        recipe: one of :data:`RECIPES`: ``table``, or ``regression`` for a table whose target is a number.

    Raises:
        ConfigError: a key is unknown or a value out of range; the text names ``source``, if there is one, and the key.
    """
    check_keys(values, source)
    if recipe is not None:
        if recipe not in RECIPES:
            raise ConfigError(f"recipe must be one of {', '.join(RECIPES)}, not {recipe!r}")
        values = _over(read_yaml(RECIPES[recipe]), values)
    try:
        config: Config = _build(Config, values)
    except ConfigError as error:
        raise ConfigError(_said_of(source, str(error))) from None
    return config


def settings_file(name: str) -> Path:
    """Return the settings file of this name: a file, or else one of :data:`RECIPES`."""
    path = Path(name)
    return RECIPES[name] if name in RECIPES and not path.is_file() else path


def _over(base: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of ``base`` with those of ``values`` in their place."""
    both = {name: _over(base[name], value) for name, value in values.items() if isinstance(base.get(name), Mapping)}
    return {**base, **values, **both}


def _said_of(source: str, text: str) -> str:
    return f"{source}: {text}" if source else text


def _build(cls: Any, values: Mapping[str, Any], prefix: str = "") -> Any:
    hints = field_types(cls)
    made = {}
    for name, value in values.items():
        if is_dataclass(hints[name]):
            made[name] = _build(hints[name], value, f"{prefix}{name}.")
        else:
            made[name] = value
    return cls(**made)


def _unfit(name: str, hint: Any, value: Any) -> str:
    choices = [choice for choice in get_args(hint) if isinstance(choice, str)]
    near = suggest(value, choices) if isinstance(value, str) else ""
    return f"{name} must be {describe_type(hint)}, not {_SHORT.repr(value)}{near}"


def check_keys(values: Any, source: str, cls: Any = Config, prefix: str = "", also: tuple[str, ...] = ()) -> None:
    """Raise ConfigError for the first key of ``values`` that is not a setting, or whose value has another type.

    ``also`` names top-level keys that are allowed beside the settings.
    """
    if not isinstance(values, Mapping):
        raise ConfigError(
            _said_of(source, f"{prefix.rstrip('.') or 'it'} must be a mapping of settings, not {_SHORT.repr(values)}")
        )
    hints = field_types(cls)
    known = [f.name for f in fields(cls)]
    for name, value in values.items():
        if name in also and not prefix:
            continue
        if name not in known:
            raise ConfigError(_said_of(source, f"unknown setting {prefix}{name}{suggest_key(prefix + str(name))}"))
        if is_dataclass(hints[name]):
            check_keys(value, source, hints[name], f"{prefix}{name}.")
        elif not matches_type(hints[name], value):
            raise ConfigError(_said_of(source, _unfit(f"{prefix}{name}", hints[name], value)))


def setting_names(cls: Any = Config, prefix: str = "") -> list[str]:
    """Return the dotted name of every setting."""
    hints = field_types(cls)
    return [
        key
        for f in fields(cls)
        for key in (
            setting_names(hints[f.name], f"{prefix}{f.name}.") if is_dataclass(hints[f.name]) else [f"{prefix}{f.name}"]
        )
    ]


def settings_ending_in(key: str) -> list[str]:
    """Return the dotted names whose last words are ``key``."""
    return [name for name in setting_names() if name.endswith(f".{key}")]


def suggest_key(key: str) -> str:
    """Return the hint that names the setting nearest to the dotted ``key``: of its siblings first, then of all."""
    # Some settings of two stages have one last word: who leaves the stage out is told of both.
    ends = settings_ending_in(key)
    if ends:
        return f" (did you mean {' or '.join(repr(name) for name in ends[:3])}?)"
    group = key.rpartition(".")[0]
    depth = key.count(".") + 1
    known = [".".join(name.split(".")[:depth]) for name in setting_names()]
    return suggest(key, {name for name in known if name.rpartition(".")[0] == group}) or suggest(key, setting_names())
