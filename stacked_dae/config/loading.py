"""The settings of an experiment as nested plain dictionaries and by dotted key, and their fingerprint."""

from __future__ import annotations

import hashlib
import json
import reprlib
from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass
from typing import Any, get_args

from stacked_dae.config.schema import Config
from stacked_dae.errors import ConfigError, suggest
from stacked_dae.utils.type_hints import fits, hints_of, in_words

# Settings that say where and how a run is done, not what is computed: they may differ between two
# calls on one run folder, and enter no fingerprint.
NOT_IDENTITY = ("data.root", "data.memory_budget", "tracking.", "trainer.accelerator")


# A value in an error: its beginning is enough.
_SHORT = reprlib.Repr()
_SHORT.maxlevel = 2


def from_dict(values: Mapping[str, Any], source: str = "") -> Config:
    """Return the Config that ``values`` (nested plain dictionaries) describes; absent keys take their defaults.

    Raises:
        ConfigError: a key is unknown or a value out of range; the text names ``source``, if there is one, and the key.
    """
    check_keys(values, source)
    try:
        config: Config = _build(Config, values)
    except ConfigError as error:
        raise ConfigError(_said_of(source, str(error))) from None
    return config


def _said_of(source: str, text: str) -> str:
    return f"{source}: {text}" if source else text


def _build(cls: Any, values: Mapping[str, Any], prefix: str = "") -> Any:
    hints = hints_of(cls)
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
    return f"{name} must be {in_words(hint)}, not {_SHORT.repr(value)}{near}"


def check_keys(values: Any, source: str, cls: Any = Config, prefix: str = "", also: tuple[str, ...] = ()) -> None:
    """Raise ConfigError for the first key of ``values`` that is no setting, or that has a value of another type.

    ``also`` names top-level keys that are allowed beside the settings.
    """
    if not isinstance(values, Mapping):
        raise ConfigError(
            _said_of(source, f"{prefix.rstrip('.') or 'it'} must be a mapping of settings, not {_SHORT.repr(values)}")
        )
    hints = hints_of(cls)
    known = [f.name for f in fields(cls)]
    for name, value in values.items():
        if name in also and not prefix:
            continue
        if name not in known:
            raise ConfigError(_said_of(source, f"{prefix}{name} is no setting{suggest_key(prefix + str(name))}"))
        if is_dataclass(hints[name]):
            check_keys(value, source, hints[name], f"{prefix}{name}.")
        elif not fits(hints[name], value):
            raise ConfigError(_said_of(source, _unfit(f"{prefix}{name}", hints[name], value)))


def keys(cls: Any = Config, prefix: str = "") -> list[str]:
    """Return the dotted name of every setting."""
    hints = hints_of(cls)
    return [
        key
        for f in fields(cls)
        for key in (keys(hints[f.name], f"{prefix}{f.name}.") if is_dataclass(hints[f.name]) else [f"{prefix}{f.name}"])
    ]


def suggest_key(key: str) -> str:
    """Return the hint that names the setting nearest to the dotted ``key``: of its siblings first, then of all."""
    group = key.rpartition(".")[0]
    depth = key.count(".") + 1
    known = [".".join(name.split(".")[:depth]) for name in keys()]
    return suggest(key, {name for name in known if name.rpartition(".")[0] == group}) or suggest(key, keys())


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings as one level of dotted keys; ``options`` stay whole."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping) and name != "options":
            flat.update(flatten(value, f"{prefix}{name}."))
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def first_difference(there: Config, here: Config, ignore: tuple[str, ...] = ()) -> str | None:
    """Return a phrase that names the first setting in which two experiments differ, or None if they are the same.

    Settings whose dotted name begins with one of ``ignore`` are passed over, as those that are no part of an
    experiment's identity always are.
    """
    old, new = flatten(there.to_dict()), flatten(here.to_dict())
    for key in new:
        if not key.startswith((*NOT_IDENTITY, *ignore)) and old[key] != new[key]:
            return f"{key} is {old[key]!r} there and {new[key]!r} here"
    return None


def fingerprint(*parts: Any) -> str:
    """Return the SHA-256 (hexadecimal) of ``parts``, written as canonical JSON; 1 and 1.0 are one number."""
    plain = [asdict(part) if is_dataclass(part) and not isinstance(part, type) else part for part in parts]
    return hashlib.sha256(json.dumps(_canonical(plain), sort_keys=True, allow_nan=False).encode()).hexdigest()


def _canonical(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _canonical(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_canonical(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
