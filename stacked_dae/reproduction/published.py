"""The published errors: Table 1 of ICML 2008, from ``published.yaml``."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

import yaml

PROBLEMS = ("basic", "rot", "bg-rand", "bg-img", "rot-bg-img", "rect", "rect-img", "convex")


@cache
def _published() -> dict[str, Any]:
    values: dict[str, Any] = yaml.safe_load((files("stacked_dae.reproduction") / "published.yaml").read_text())
    return values


def published_error(problem: str, model: str) -> tuple[float, float] | None:
    """Return the published test error and half its 95 % interval, in percent; None where none was published."""
    for table in ("icml2008", "jmlr2010"):
        found = _published()[table].get(problem, {}).get(model)
        if found:
            return float(found[0]), float(found[1])
    return None


def best_published_error(problem: str) -> tuple[float, float]:
    """Return the lowest test error of the six columns of Table 1, and half its 95 % interval, in percent."""
    error, half = min(_published()["icml2008"][problem].values())
    return float(error), float(half)


def published_noise(problem: str) -> float:
    """Return ν of the paper's SdA-3."""
    return float(_published()["nu"][problem])


def sources() -> dict[str, str]:
    """Return the publications by their short names."""
    named: dict[str, str] = _published()["sources"]
    return named
