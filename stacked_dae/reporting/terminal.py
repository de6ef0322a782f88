"""Print tables in the terminal: runs side by side, the trials of a search, the runs below a folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.markup import escape
from rich.table import Table

from stacked_dae.errors import StackedDAEError, StageError
from stacked_dae.reporting.columns import shown
from stacked_dae.reporting.comparison import Comparison
from stacked_dae.reporting.console import print_line, print_table, without
from stacked_dae.reporting.run_folders import read_run, runs_below
from stacked_dae.runs.folder import RunFolder
from stacked_dae.utils.nested import short_key
from stacked_dae.utils.terminal.console import Terminal

# Spaces of this box: at both edges together, and between two columns.
_EDGES, _GAP = 2, 3


def print_comparison(comparison: Comparison) -> None:
    """Print which settings differ, then one row per run; the one with the lowest validation error is marked."""
    console = Terminal()
    named = ", ".join(comparison.keys)
    runs = f"{len(comparison.runs)} run{'s' * (len(comparison.runs) != 1)}"
    differ = f"they differ in {named}" if named else "all settings are the same"
    print_line(console, f"{runs}; {differ}" if len(comparison.runs) > 1 else runs)
    # The errors first; what a terminal has no room for goes from the end.
    columns = comparison.table_columns
    titles = [c.title.replace("layer_", "loss ") if c.kind == "loss" else c.title for c in columns]
    names = [f"{'* ' if run is comparison.best else ''}{comparison.label(run)}" for run in comparison.runs]
    texts = [[column.text(run) for run in comparison.runs] for column in columns]
    widths = [max(map(cell_len, [title, *cells])) for title, cells in zip(titles, texts, strict=True)]
    ends = list(accumulate((width + _GAP for width in widths), initial=max(map(cell_len, ["run", *names])) + _EDGES))
    count = max(sum(end <= console.width for end in ends[1:]), sum(column.kind == "error" for column in columns))
    table = Table(title=escape(comparison.folder) or None, box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("run", no_wrap=True)
    for title, column in zip(titles[:count], columns[:count], strict=True):
        table.add_column(title, justify="left" if column.kind == "setting" else "right")
    for k, run in enumerate(comparison.runs):
        cells = (escape(cells[k]) for cells in texts[:count])
        table.add_row(escape(names[k]), *cells, style="bold" if run is comparison.best else None)
    print_table(console, table)
    if titles[count:]:
        print_line(console, without(titles[count:]))
    if comparison.best:
        interval = "" if comparison.best.is_regression else "; after the test error, its 95 % interval"
        console.print(f"* lowest validation error{interval}", highlight=False)
    else:
        console.print(comparison.why_no_best, highlight=False)


def print_runs(place: str) -> None:
    """Print one row for each run below a folder: its data, its state, its errors; also for one that is damaged.

    Raises:
        StageError: there is none.
    """
    console = Terminal()
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name in ("run", "data", "model", "state"):
        table.add_column(name)
    for name in ("valid", "test", "seconds"):
        table.add_column(name, justify="right")
    paths = runs_below(Path(place))
    if not paths:
        raise StageError(f"{place}: there is no run folder in it; name a folder of runs")
    damages: list[str] = []
    for path in paths:
        name = escape(str(path.relative_to(place)) if path != Path(place) else str(path))
        try:
            run = read_run(RunFolder.open(path))
        except StackedDAEError as error:
            table.add_row(name, "", "", "damaged", "", "", "")
            damages.append(str(error))
            continue
        data = run.settings["data.path"] or run.settings["data.name"]
        valid = shown(run.valid_rmse, 4) if run.is_regression else shown(run.valid_error_percent)
        test = run.rmse_text if run.is_regression else run.test_text
        if run.state != "done":
            test = shown(None)
        cells = (escape(Path(str(data)).name), str(run.settings["model"]), run.state, valid, test, f"{run.seconds:.1f}")
        table.add_row(name, *cells)
    print_table(console, table)
    for damage in damages:
        print_line(console, damage)


def print_trials(rows: Sequence[Mapping[str, Any]], measure: str, best: int, most: int = 10) -> None:
    """Print how the trials of a search ended, and those of the lowest validation error, the best one marked.

    Args:
        rows: one per trial.
        measure: key of the figure that they are chosen by.
        best: number of the best.
        most: rows printed at the most.
    """
    console = Terminal()
    states = [row["state"] for row in rows]
    counted = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    console.print(f"{len(rows)} trials: {counted}", highlight=False)
    complete = sorted(
        (row for row in rows if row["state"] == "complete"), key=lambda row: (row[measure], row["valid_loss"])
    )
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("trial", justify="right")
    table.add_column("valid RMSE" if measure == "valid_rmse" else "valid %", justify="right")
    names = [name for name in rows[0] if "." in name or name in ("seed", "model")]
    keys = [name for name in names if len({str(row.get(name)) for row in complete}) > 1]
    for key in keys:
        table.add_column(short_key(key, keys))
    table.add_column("run")
    for row in complete[:most]:
        is_best = row["trial"] == best
        cells = (escape(shown(row[key], 6)) for key in keys)
        mark = "* " if is_best else ""
        value = shown(row[measure], 4 if measure == "valid_rmse" else 2)
        table.add_row(f"{mark}{row['trial']}", value, *cells, row["run"], style="bold" if is_best else None)
    print_table(console, table)
    rest = f" of {len(complete)}" if len(complete) > most else ""
    console.print(f"* lowest validation error{rest}; only this one was tested", highlight=False)
