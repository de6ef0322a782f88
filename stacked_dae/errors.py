"""Errors that the user can correct, each with one line that says how."""

from __future__ import annotations

import difflib
import sys
import warnings
from collections.abc import Iterable

_PACKAGE = __name__.partition(".")[0]


class StackedDAEError(Exception):
    """An error that the user can correct; its text is one line that says how."""


class ConfigError(StackedDAEError):
    """A setting is unknown, out of range, or at odds with another one."""


class DataError(StackedDAEError):
    """A data file or array is absent, damaged, or not what the setting needs."""


class StageError(StackedDAEError):
    """A run folder does not hold what the command needs."""


class PeerError(StackedDAEError):
    """Another process of the same job ended, so that this one cannot continue."""


class DivergedError(StageError):
    """A training whose loss is no longer finite."""


def suggest(word: str, known: Iterable[str]) -> str:
    """Return ``" (did you mean 'x'?)"`` for the known word nearest to ``word``, or ``""``."""
    near = difflib.get_close_matches(word, sorted(known), n=1, cutoff=0.6)
    return f" (did you mean '{near[0]}'?)" if near else ""


def lightning_hint(value: object) -> str:
    """Return the hint for an object of the package ``lightning``, whose classes are not those of pytorch_lightning."""
    foreign = type(value).__module__.split(".")[0] == "lightning"
    return "; import it from pytorch_lightning, not from lightning" if foreign else ""


def warn_caller(text: str) -> None:
    """Warn with a UserWarning at the innermost frame outside this package."""
    level, frame = 1, sys._getframe(0)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == _PACKAGE:
        level, frame = level + 1, frame.f_back
    warnings.warn(text, stacklevel=level)
