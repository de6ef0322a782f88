"""Table 1, measured: its rows, and how they are written and drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from stacked_dae.reproduction import published
from stacked_dae.utils.type_hints import field_types, matches_type

_ORDER = ("svm-rbf", "mlp-3", "saa-3", "sda-3", "sda-3-emphasis", "svm-codes-1", "svm-codes-2", "svm-codes-3")


@dataclass(frozen=True)
class TableRow:
    """A model on a problem. Errors are test errors in percent, with half their 95 % binomial interval.

    ``preset``, ``budget`` and ``seed`` are the requested ones. Of up to ``budget`` configurations ``tried`` were tried
    and ``diverged`` diverged; ``settings`` are the chosen one's, ``seconds`` the training time of all. A support
    vector machine's ``tried`` counts pairs of C and γ, and its ``seconds`` are its own; on pixels it has neither
    preset nor seed. ``made_from`` is the fingerprint of the data and of what was searched.
    """

    problem: str
    model: str
    source: str
    test_error_percent: float
    ci95_percent: float
    n_test: int
    paper_percent: float | None
    paper_ci95_percent: float | None
    preset: str
    budget: int
    seed: int
    machine: str
    date: str
    valid_error_percent: float = 0.0
    tried: int = 0
    diverged: int = 0
    seconds: float = 0.0
    settings: dict[str, Any] = field(default_factory=dict)
    made_from: str = ""

    def holds(self) -> bool:
        """Return whether every value is of its type, and the problem one of the eight."""
        hints = field_types(TableRow)
        return self.problem in published.PROBLEMS and all(
            matches_type(hints[name], value) for name, value in vars(self).items()
        )

    @property
    def key(self) -> tuple[str, str, str, str, int]:
        """Identity of the row; a later measurement with the same key replaces it."""
        return self.problem, self.source, self.model, self.preset, self.seed

    @property
    def asked(self) -> str:
        """The model that was asked for: svm-codes has a row for each layer."""
        return "svm-codes" if self.model.startswith("svm-codes") else self.model

    @property
    def command(self) -> str:
        """The command that measures the row."""
        words = f"stacked-dae reproduce icml2008 --problems {self.problem} --models {self.asked}"
        if self.source != "regenerated":
            words += f" --source {self.source}"
        return words + (f" --preset {self.preset} --budget {self.budget} --seed {self.seed}" if self.preset else "")

    @property
    def verdict(self) -> str:
        """Return better or worse than the paper, equal where the two intervals overlap; empty without its figure."""
        if self.paper_percent is None or self.paper_ci95_percent is None:
            return ""
        difference = self.test_error_percent - self.paper_percent
        if abs(difference) <= self.ci95_percent + self.paper_ci95_percent:
            return "equal"
        return "better" if difference < 0 else "worse"


def _rank(model: str) -> tuple[int, str]:
    return (_ORDER.index(model) if model in _ORDER else len(_ORDER), model)


def ordered(rows: Sequence[TableRow]) -> list[TableRow]:
    """Return the rows in the order of the paper's problems, regenerated ones first."""
    return sorted(rows, key=lambda r: (published.PROBLEMS.index(r.problem), r.source != "regenerated", _rank(r.model)))


def named(row: TableRow) -> str:
    """Return the problem's name, with its source where that is the original."""
    return row.problem if row.source == "regenerated" else f"{row.problem} ({row.source})"
