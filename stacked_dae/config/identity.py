"""The identity of an experiment: its fingerprints, and which settings decide them.

A fingerprint names what was trained, for as long as the run folder exists. So a setting that a later version adds is
hashed only where it is not at its default: every experiment that does without it keeps its fingerprint.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from stacked_dae.config.checks import default_of
from stacked_dae.config.schema import Config
from stacked_dae.utils.nested import flatten

HASH_VERSION = 4
"""Version of what a stage's fingerprint is made of; changing it changes every fingerprint."""

NON_IDENTITY_KEYS = (
    "data.root",
    "data.memory_budget",
    "tracking.",
    "trainer.accelerator",
    "trainer.checkpoint_seconds",
    "finetune.metrics",
    "finetune.baselines",
)
"""Settings that say where and how a run is done, not what it computes: they enter no fingerprint, and may differ
between two calls on one run folder."""

# Of classes that are hashed as a whole, the fields that only observe.
_NEVER_HASHED = {"FinetuneConfig": "metrics baselines", "TrainerConfig": "checkpoint_seconds"}
# The fields that this version of the hash began with, by class. It stays as it is when a class gains a field.
_ALWAYS_HASHED = {
    "DataConfig": "name path target keep drop categorical scale split root source labels_per_class memory_budget",
    "CorruptionConfig": "kind nu",
    "EmphasisConfig": "alpha beta",
    "LayerOptimizerConfig": "name lr options",
    "OptimizerConfig": "name lr options",
    "LayerConfig": "units activation decoder loss tied kind nu alpha beta optimizer lr options batch_size epochs",
    "PretrainConfig": "units activation decoder loss tied corruption emphasis batch_size epochs optimizer",
    "FinetuneConfig": "batch_size epochs patience dropout optimizer",
    "TrackingConfig": "mode project entity group tags loggers",
    "TrainerConfig": "accelerator precision",
    "Config": "seed model data pretrain finetune tracking trainer",
}


def hashed_fields(settings: Any) -> dict[str, Any]:
    """Return the fields of a settings dataclass that enter a fingerprint, by name; those of nested ones likewise.

    A field that the hash did not begin with is left out where it is at its default.
    """
    cls = type(settings)
    always = _ALWAYS_HASHED[cls.__name__].split()
    never = _NEVER_HASHED.get(cls.__name__, "").split()
    found = {}
    for field in fields(settings):
        value = getattr(settings, field.name)
        if field.name in never:
            continue
        if field.name in always or value != default_of(cls, field.name):
            found[field.name] = hashed_fields(value) if is_dataclass(value) else value
    return found


def identity_settings(config: Config) -> dict[str, Any]:
    """Return the settings that are part of an experiment's identity, as far as they are hashed, by dotted key."""
    flat = flatten(hashed_fields(config))
    return {key: value for key, value in flat.items() if not key.startswith(NON_IDENTITY_KEYS)}


def first_difference(there: Config, here: Config, ignore: tuple[str, ...] = ()) -> str | None:
    """Return a phrase that names the first setting in which two experiments differ, or None if they are the same.

    Settings whose dotted name begins with one of ``ignore``, or of :data:`NON_IDENTITY_KEYS`, are not compared.
    """
    old, new = flatten(there.to_dict()), flatten(here.to_dict())
    for key in new:
        if not key.startswith((*NON_IDENTITY_KEYS, *ignore)) and old[key] != new[key]:
            return f"{key} is {old[key]!r} there and {new[key]!r} here"
    return None


def fingerprint(*parts: Any) -> str:
    """Return the SHA-256 (hexadecimal) of ``parts``, written as canonical JSON.

    Args:
        parts: plain values, and settings dataclasses (:func:`hashed_fields`). 1 and 1.0 are one number.
    """
    return hashlib.sha256(json.dumps(_canonical(parts), sort_keys=True, allow_nan=False).encode()).hexdigest()


def _canonical(value: Any) -> Any:
    if is_dataclass(value):
        return _canonical(hashed_fields(value))
    if isinstance(value, Mapping):
        return {key: _canonical(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_canonical(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
