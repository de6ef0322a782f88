"""The command that measures the paper again."""

from __future__ import annotations

from pathlib import Path

from stacked_dae.cli.options import ReproduceOptions
from stacked_dae.errors import ConfigError
from stacked_dae.reproduction.published import PROBLEMS
from stacked_dae.reproduction.search_space import BUDGETS, NOTES, check_request
from stacked_dae.utils.terminal.text import say


def run_reproduce(options: ReproduceOptions) -> None:
    """Measure the table, or draw a study."""
    preset = options.preset or "quick"
    budget = BUDGETS[preset] if options.budget is None else options.budget
    problems, models = options.problems or list(PROBLEMS), options.models or ["sda-3", "mlp-3"]
    check_request(problems, models, budget, options.seed)
    if options.what != "icml2008":
        _study(options)
        return
    out = Path(options.out or "runs/icml2008")

    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    from stacked_dae.reporting.console import print_table
    from stacked_dae.reproduction.parallel import reproduce_side_by_side
    from stacked_dae.reproduction.rendering import cells
    from stacked_dae.reproduction.runner import ReproductionRequest
    from stacked_dae.utils.terminal.console import Terminal
    from stacked_dae.utils.terminal.progress import command_reporter

    request = ReproductionRequest(problems, models, preset, budget, options.seed, options.source, options.root)
    with command_reporter() as reporter:
        reporter.say(NOTES[preset])
        rows = reproduce_side_by_side(request, out, reporter)
    asked = [row for row in rows if (row.problem in problems and row.asked in models and row.source == options.source)]
    header, lines = cells(asked)
    # What the search tried and chose has no room in a terminal.
    table = Table(*header[:-3], title=f"Table 1, test error (%): {escape(str(out))}", box=SIMPLE_HEAD, pad_edge=False)
    for line in lines:
        table.add_row(*line[:-3])
    print_table(Terminal(), table)
    say(f"{len(rows)} rows, with what was chosen, in {out}: table.md, table.csv, table.png")


def _study(options: ReproduceOptions) -> None:
    for option in ("models", "preset", "budget"):
        if getattr(options, option) is not None:
            raise ConfigError(
                f"--{option} applies only to reproduce icml2008, not to reproduce {options.what}; leave it out"
            )
    problems = options.problems or []
    if len(problems) != 1:
        raise ConfigError(f"--problems: reproduce {options.what} takes exactly one problem: {', '.join(PROBLEMS)}")
    (problem,) = problems
    source = "" if options.source == "regenerated" else f"-{options.source}"
    out = Path(options.out or f"runs/{options.what}-{problem}{source}-seed{options.seed}")
    from stacked_dae.data.registry import load_dataset
    from stacked_dae.reproduction.studies import errors_by_noise, filters_by_noise
    from stacked_dae.utils.terminal.progress import command_reporter

    data = load_dataset(problem, options.root, options.source)
    study = filters_by_noise if options.what == "filters" else errors_by_noise
    with command_reporter() as reporter:
        picture = study(data, options.source, options.seed, out, reporter)
    say(picture)
