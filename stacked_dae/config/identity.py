"""The identity of an experiment: fingerprints, and which settings decide them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from typing import Any

from stacked_dae.config.loading import flatten
from stacked_dae.config.schema import Config

# Settings that say where and how a run is done, not what is computed: they may differ between two
# calls on one run folder, and enter no fingerprint.
NOT_IDENTITY = ("data.root", "data.memory_budget", "tracking.", "trainer.accelerator")


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
