"""The command that measures the paper again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stacked_dae.errors import ConfigError
from stacked_dae.reproduction.published import PROBLEMS
from stacked_dae.reproduction.search_space import BUDGETS, NOTES, check_order


def run_reproduce(asked: Any) -> None:
    """Measure the table, or draw a study."""
    preset = asked.preset or "quick"
    budget = BUDGETS[preset] if asked.budget is None else asked.budget
    problems, models = asked.problems or list(PROBLEMS), asked.models or ["sda-3", "mlp-3"]
    check_order(problems, models, budget, asked.seed)
    if asked.what != "icml2008":
        _study(asked)
        return
    out = Path(asked.out or "runs/icml2008")

    from rich.console import Console
    from rich.table import Table

    from stacked_dae.reproduction.parallel import reproduce_side_by_side
    from stacked_dae.reproduction.rendering import cells
    from stacked_dae.reproduction.runner import Order
    from stacked_dae.utils.progress import TerminalReporter

    order = Order(problems, models, preset, budget, asked.seed, asked.source, asked.root)
    with TerminalReporter() as reporter:
        reporter.say(NOTES[preset])
        rows = reproduce_side_by_side(order, out, reporter)
    header, lines = cells(rows)
    table = Table(*header, title=f"Table 1, test error (%): {out}")
    for line in lines:
        table.add_row(*line)
    Console().print(table)
    print(f"also in {out}: table.md, table.csv, table.png")


def _study(asked: Any) -> None:
    for option in ("models", "preset", "budget"):
        if getattr(asked, option) is not None:
            raise ConfigError(
                f"--{option}: reproduce {asked.what} searches nothing and takes no {option}; leave it out"
            )
    if len(asked.problems or ()) != 1:
        raise ConfigError(f"--problems: reproduce {asked.what} is of one problem; name one of {', '.join(PROBLEMS)}")
    (problem,) = asked.problems
    source = "" if asked.source == "regenerated" else f"-{asked.source}"
    out = Path(asked.out or f"runs/{asked.what}-{problem}{source}-seed{asked.seed}")
    from stacked_dae.data.registry import load
    from stacked_dae.reproduction.studies import errors_by_noise, filters_by_noise
    from stacked_dae.utils.progress import TerminalReporter

    data = load(problem, asked.root, asked.source)
    study = filters_by_noise if asked.what == "filters" else errors_by_noise
    with TerminalReporter() as reporter:
        picture = study(data, asked.source, asked.seed, out, reporter)
    print(picture)
